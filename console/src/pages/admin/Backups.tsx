import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import {
  AdminBackupsDocument,
  type AdminBackupsQuery,
  AdminHubDocument,
  CreateBackupLinkDocument,
} from '../../api/generated';
import { useChange, useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { InfoLink } from '../../app/help';
import { Copyable } from '../../components/Copyable';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { useOperationName } from './auditWords';
import { RestoreBackup } from './RestoreBackup';

type Entry = AdminBackupsQuery['listAudit']['items'][number];
const BY_HAND = 'dth backup /backup/$(date +%F)';

/** Saves everything that the hub keeps, and puts it back. */
export function Backups() {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(AdminHubDocument, {});
  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('admin.backups.about')}>
        {t('nav.backups')}
      </Header>
      <ErrorAlert error={error} retry={() => void refetch()} />
      {data?.hubInfo.backsUp === false && (
        <Alert type="info" header={t('admin.backups.elsewhere')}>
          {t('admin.backups.elsewhereHint')}
        </Alert>
      )}
      {data?.hubInfo.backsUp && (
        <SpaceBetween size="l">
          <Download />
          <Last />
          <RestoreBackup />
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}

function Download() {
  const { t } = useTranslation();
  const flash = useFlash();
  const link = useChange(CreateBackupLinkDocument, [AdminBackupsDocument]);

  function begin() {
    link.mutate(
      {},
      {
        onSuccess: ({ createBackupLink }) => {
          // The hub sends it as a file, so that this page stays. The browser saves it as it comes.
          location.assign(createBackupLink.url);
          flash({ type: 'info', content: t('admin.backups.begun') });
        },
      },
    );
  }

  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('admin.backups.downloadHint')}
          info={
            <InfoLink
              title={t('admin.backups.download')}
              body={
                <>
                  <p>{t('admin.backups.regular')}</p>
                  <Copyable code text={BY_HAND} />
                </>
              }
            />
          }
          actions={
            <Button variant="primary" iconName="download" loading={link.isPending} onClick={begin}>
              {t('admin.backups.download')}
            </Button>
          }
        >
          {t('admin.backups.download')}
        </Header>
      }
    >
      <SpaceBetween size="m">
        <Alert type="info" header={t('admin.backups.keyTitle')}>
          {t('admin.backups.keyHint')}
        </Alert>
        <ErrorAlert error={link.error} />
      </SpaceBetween>
    </Container>
  );
}

function Last() {
  const { t } = useTranslation();
  const columns = useColumns();
  const { data, error, refetch } = useData(AdminBackupsDocument, {}, { refetchInterval: 10_000 });
  return (
    <Table
      items={data?.listAudit.items ?? []}
      trackBy={(entry) => String(entry.id)}
      loading={!data && !error}
      loadingText={t('common.loading')}
      wrapLines
      ariaLabels={{ tableLabel: t('admin.backups.last') }}
      header={<Header variant="h2">{t('admin.backups.last')}</Header>}
      footer={error && <ErrorAlert error={error} retry={() => void refetch()} />}
      empty={<Empty title={t('admin.backups.none')} />}
      columnDefinitions={columns}
    />
  );
}

function useColumns(): TableProps.ColumnDefinition<Entry>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  const nameOf = useOperationName();
  return [
    { id: 'at', minWidth: 130, header: t('admin.backups.at'), cell: (entry) => when(entry.at) },
    { id: 'what', minWidth: 110, header: t('admin.backups.what'), cell: (entry) => nameOf(entry.what) },
    {
      id: 'where',
      minWidth: 170,
      header: t('admin.backups.where'),
      cell: (entry) => <Box className="dth-break">{entry.target}</Box>,
    },
    { id: 'who', minWidth: 120, header: t('admin.backups.who'), cell: (entry) => entry.who },
    {
      id: 'outcome',
      minWidth: 130,
      header: t('admin.backups.outcome'),
      cell: ({ outcome }) => <Outcome outcome={outcome} />,
    },
  ];
}

function Outcome({ outcome }: { outcome: string }) {
  const { t } = useTranslation();
  if (!outcome) return <StatusIndicator type="in-progress">{t('admin.backups.underWay')}</StatusIndicator>;
  if (outcome === 'ok') return <StatusIndicator>{t('admin.backups.ok')}</StatusIndicator>;
  return <StatusIndicator type="error">{t('admin.backups.failed')}</StatusIndicator>;
}
