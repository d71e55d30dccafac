import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import TextFilter from '@cloudscape-design/components/text-filter';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';

const PAGE = 50;
type Sorting<T> = Pick<TableProps<T>, 'sortingColumn' | 'sortingDescending'>;

/** A page that lists everything of one kind. The hub sends all of it, so that it is searched and sorted here. */
export function ListPage<T>(props: {
  title: string;
  description: string;
  info?: ReactNode;
  actions?: ReactNode;
  items: readonly T[] | undefined;
  error: unknown;
  retry: () => void;
  columns: TableProps.ColumnDefinition<T>[];
  idOf: (item: T) => string;
  /** What a search looks at. */
  textOf: (item: T) => string;
  empty: ReactNode;
}) {
  const { t } = useTranslation();
  const { number, locale } = useFormat();
  const [search, setSearch] = useSearchParams();
  const [sorting, setSorting] = useState<Sorting<T>>({});
  const [page, setPage] = useState(1);
  const text = search.get('text') ?? '';
  const all = props.items ?? [];
  const wanted = text.trim().toLowerCase();
  const found = wanted ? all.filter((item) => props.textOf(item).toLowerCase().includes(wanted)) : all;
  const sorted = sortedBy(found, sorting, new Intl.Collator(locale, { numeric: true }));
  const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
  const shown = Math.min(page, pages);
  const filter = (next: string) => setSearch(next ? { text: next } : {}, { replace: true });

  return (
    <SpaceBetween size="m">
      <ErrorAlert error={props.error} retry={props.retry} />
      <Table
        variant="full-page"
        items={sorted.slice((shown - 1) * PAGE, shown * PAGE)}
        {...sorting}
        onSortingChange={({ detail }) =>
          setSorting({ sortingColumn: detail.sortingColumn, sortingDescending: detail.isDescending ?? false })
        }
        columnDefinitions={props.columns}
        trackBy={props.idOf}
        loading={!props.items && !props.error}
        loadingText={t('common.loading')}
        wrapLines
        ariaLabels={{ tableLabel: props.title }}
        header={
          <Header
            variant="awsui-h1-sticky"
            counter={props.items ? `(${number(all.length)})` : ''}
            description={props.description}
            info={props.info}
            actions={props.actions}
          >
            {props.title}
          </Header>
        }
        filter={
          all.length > 0 && (
            <TextFilter
              filteringText={text}
              filteringPlaceholder={t('admin.list.find')}
              filteringAriaLabel={t('admin.list.findIn', { what: props.title })}
              countText={wanted ? t('admin.list.matches', { count: found.length }) : ''}
              onChange={(event) => filter(event.detail.filteringText)}
            />
          )
        }
        pagination={
          pages > 1 && (
            <Pagination
              currentPageIndex={shown}
              pagesCount={pages}
              onChange={(event) => setPage(event.detail.currentPageIndex)}
            />
          )
        }
        empty={
          wanted && all.length > 0 ? (
            <Empty
              title={t('common.noMatch')}
              hint={t('common.noMatchHint')}
              action={<Button onClick={() => filter('')}>{t('common.clear')}</Button>}
            />
          ) : (
            props.items && props.empty
          )
        }
      />
    </SpaceBetween>
  );
}

/** By the texts of one field; times are ISO, and sort as texts do. */
function sortedBy<T>(items: readonly T[], sorting: Sorting<T>, collator: Intl.Collator): readonly T[] {
  const field = sorting.sortingColumn?.sortingField as keyof T | undefined;
  if (!field) return items;
  const way = sorting.sortingDescending ? -1 : 1;
  return items.toSorted(
    (one, other) => way * collator.compare(String(one[field] ?? ''), String(other[field] ?? '')),
  );
}
