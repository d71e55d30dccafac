import Pagination from '@cloudscape-design/components/pagination';
import Table from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Empty } from '../../components/Empty';
import { useFormat } from '../../format';
import { type GraphId, type Row, rowsOf, type Series, useGraphTexts } from './graphs';

const PAGE = 20;

/** A graph as numbers, for those who do not see lines. */
export function GraphTable({ id, series }: { id: GraphId; series: Series[] }) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const texts = useGraphTexts(id);
  const [page, setPage] = useState(1);
  const rows = rowsOf(series);
  const pages = Math.max(1, Math.ceil(rows.length / PAGE));
  const current = Math.min(page, pages);
  return (
    <Table
      variant="borderless"
      contentDensity="compact"
      items={rows.slice((current - 1) * PAGE, current * PAGE)}
      trackBy={(row) => String(row.at)}
      ariaLabels={{ tableLabel: texts.title }}
      empty={<Empty title={t('detail.monitoring.noData')} hint={t('detail.monitoring.noDataHint')} />}
      pagination={
        pages > 1 && (
          <Pagination
            currentPageIndex={current}
            pagesCount={pages}
            onChange={({ detail }) => setPage(detail.currentPageIndex)}
          />
        )
      }
      columnDefinitions={[
        {
          id: 'at',
          header: t('detail.monitoring.time'),
          cell: (row: Row) => when(row.at * 1000),
          isRowHeader: true,
        },
        ...series.map(({ name }, index) => ({
          id: name,
          header: texts.name(name),
          cell: (row: Row) => texts.value(row.values[index] ?? null),
        })),
      ]}
    />
  );
}
