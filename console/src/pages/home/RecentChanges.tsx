import Header from '@cloudscape-design/components/header';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { AdminAuditDocument, type AdminAuditQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { AuditOutcome } from '../admin/AuditOutcome';
import { useOperationName } from '../admin/auditWords';
import { PageLink } from '../../components/PageLink';

type Entry = AdminAuditQuery['listAudit']['items'][number];
const SHOWN = 5;
const LOOK = 30_000; // milliseconds between looks

/** The newest entries of the audit log. For admins. */
export function RecentChanges() {
  const { t } = useTranslation();
  const { data, error } = useData(AdminAuditDocument, { page: 1, count: SHOWN }, { refetchInterval: LOOK });
  const columns = useColumns();
  if (error) return <ErrorAlert error={error} />;
  return (
    <Table
      variant="container"
      items={data?.listAudit.items ?? []}
      trackBy={(entry) => String(entry.id)}
      loading={!data}
      loadingText={t('common.loading')}
      wrapLines
      ariaLabels={{ tableLabel: t('home.changes') }}
      header={
        <Header variant="h2" actions={<PageLink to="/audit">{t('nav.audit')}</PageLink>}>
          {t('home.changes')}
        </Header>
      }
      columnDefinitions={columns}
      empty={t('admin.audit.none')}
    />
  );
}

function useColumns(): TableProps.ColumnDefinition<Entry>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  const operationName = useOperationName();
  return [
    {
      id: 'what',
      minWidth: 120,
      header: t('admin.audit.what'),
      cell: (entry) => operationName(entry.what),
      isRowHeader: true,
    },
    { id: 'who', minWidth: 110, header: t('admin.audit.who'), cell: (entry) => entry.who },
    {
      id: 'outcome',
      minWidth: 110,
      header: t('admin.audit.outcome'),
      cell: (entry) => <AuditOutcome outcome={entry.outcome} />,
    },
    { id: 'at', minWidth: 130, header: t('admin.audit.at'), cell: (entry) => when(entry.at) },
  ];
}
