import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { TaskAuditDocument, type TaskAuditQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { pretty } from '../../components/saveFile';
import type { TabProps } from '../../plugins/types';
import { useShown } from './tab';

type Entry = TaskAuditQuery['listAudit']['items'][number];

const PAGE = 20;

export function AuditTrail({ task, poll }: TabProps) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const columns = useColumns();
  const [shown, change] = useShown();
  const page = Math.max(1, Number.parseInt(shown.get('page') ?? '1', 10) || 1);
  const audit = useData(TaskAuditDocument, { id: task.id, page, count: PAGE }, { refetchInterval: poll });
  const { items = [], total = 0 } = audit.data?.listAudit ?? {};
  return (
    <SpaceBetween size="m">
      <ErrorAlert error={audit.error} retry={() => void audit.refetch()} />
      <Table
        variant="container"
        loading={audit.isPending}
        loadingText={t('common.loading')}
        items={items}
        trackBy={(entry) => String(entry.id)}
        wrapLines
        ariaLabels={{ tableLabel: t('detail.audit.title') }}
        header={
          <Header variant="h2" counter={`(${number(total)})`}>
            {t('detail.audit.title')}
          </Header>
        }
        empty={<Empty title={t('detail.audit.none')} hint={t('detail.audit.noneHint')} />}
        pagination={
          <Pagination
            currentPageIndex={page}
            pagesCount={Math.max(1, Math.ceil(total / PAGE))}
            onChange={({ detail }) =>
              change({ page: detail.currentPageIndex > 1 ? String(detail.currentPageIndex) : '' })
            }
          />
        }
        columnDefinitions={columns}
      />
    </SpaceBetween>
  );
}

function useColumns(): TableProps.ColumnDefinition<Entry>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    { id: 'at', header: t('detail.audit.at'), cell: (entry) => when(entry.at), isRowHeader: true },
    { id: 'who', header: t('detail.audit.who'), cell: (entry) => entry.who },
    { id: 'via', header: t('detail.audit.via'), cell: (entry) => entry.via },
    { id: 'what', header: t('detail.audit.what'), cell: (entry) => entry.what },
    {
      id: 'outcome',
      header: t('detail.audit.outcome'),
      cell: ({ outcome }) =>
        outcome === '' ? (
          <StatusIndicator type="in-progress">{t('detail.audit.open')}</StatusIndicator>
        ) : /^ok\b/.test(outcome) ? (
          <StatusIndicator type="success">{t('detail.audit.ok')}</StatusIndicator>
        ) : (
          <StatusIndicator type="error">{outcome}</StatusIndicator>
        ),
    },
    {
      id: 'detail',
      header: t('detail.audit.arguments'),
      cell: (entry) => (
        <ExpandableSection headerText={t('detail.audit.arguments')}>
          {/* It scrolls, so that a keyboard must reach it. */}
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
          <pre className="dth-code" tabIndex={0}>
            {pretty(entry.detail)}
          </pre>
        </ExpandableSection>
      ),
    },
  ];
}
