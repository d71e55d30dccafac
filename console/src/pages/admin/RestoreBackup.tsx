import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useQueryClient } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminRestoreDocument,
  type AdminRestoreQuery,
  BeginRestoreDocument,
  CheckRestoreDocument,
  DiscardRestoreDocument,
} from '../../api/generated';
import { nameOf, useApi, useData } from '../../api/hooks';
import { Copyable } from '../../components/Copyable';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';
import { ConfirmChange } from './ConfirmChange';

type Restore = NonNullable<AdminRestoreQuery['getRestore']>;

/** What the hub takes in one request, with room to spare. */
const PIECE = 1024 * 1024;
const RESTART = 'systemctl restart data-transfer-hub';

/** Uploads a backup, and shows what becomes of it. */
export function RestoreBackup() {
  const { t } = useTranslation();
  const { percent } = useFormat();
  const { data, error, refetch } = useData(
    AdminRestoreDocument,
    {},
    { refetchInterval: ({ state }) => (state.data?.getRestore?.state === 'CHECKING' ? 1_000 : 10_000) },
  );
  const { upload, sent, failure } = useUpload();
  const input = useRef<HTMLInputElement>(null);
  const restore = data?.getRestore;
  const busy = sent !== null || restore?.state === 'CHECKING';
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('admin.backups.restoreHint')}
          actions={
            <Button iconName="upload" disabled={busy} onClick={() => input.current?.click()}>
              {t('admin.backups.choose')}
            </Button>
          }
        >
          {t('admin.backups.restore')}
        </Header>
      }
    >
      <SpaceBetween size="m">
        <input
          ref={input}
          type="file"
          hidden
          accept=".gz,.tgz"
          aria-label={t('admin.backups.file')}
          onChange={(event) => {
            const [file] = event.target.files ?? [];
            if (file) void upload(file);
            event.target.value = ''; // the same file may be chosen again
          }}
        />
        <ErrorAlert error={failure ?? error} retry={() => void refetch()} />
        {sent !== null ? (
          <StatusIndicator type="in-progress">
            {t('admin.backups.uploading', { percent: percent(sent, 1) })}
          </StatusIndicator>
        ) : (
          restore && <State restore={restore} />
        )}
      </SpaceBetween>
    </Container>
  );
}

/** Sends a file piece by piece. `sent`: the part that is there; null while nothing is sent. */
function useUpload() {
  const api = useApi();
  const queries = useQueryClient();
  const [sent, setSent] = useState<number | null>(null);
  const [failure, setFailure] = useState<unknown>(null);

  async function upload(file: File) {
    setFailure(null);
    setSent(0);
    try {
      const { id } = (await api.request(BeginRestoreDocument, {})).beginRestore;
      for (let offset = 0; offset < file.size; offset += PIECE) {
        await api.send(`/restore/${id}?offset=${offset}`, file.slice(offset, offset + PIECE));
        setSent(Math.min(1, (offset + PIECE) / file.size));
      }
      await api.request(CheckRestoreDocument, { id });
    } catch (error) {
      setFailure(error);
    }
    await queries.invalidateQueries({ queryKey: [nameOf(AdminRestoreDocument)] });
    setSent(null);
  }
  return { upload, sent, failure };
}

function State({ restore }: { restore: Restore }) {
  const { t } = useTranslation();
  switch (restore.state) {
    case 'CHECKING':
      return <StatusIndicator type="in-progress">{t('admin.backups.checking')}</StatusIndicator>;
    case 'FAILED':
      return (
        <Alert type="error" header={t('admin.backups.failedTitle')}>
          <HubText>{restore.error}</HubText>
        </Alert>
      );
    case 'WAITING':
      return <Waiting restore={restore} />;
    default: // an upload of another page
      return null;
  }
}

function Waiting({ restore }: { restore: Restore }) {
  const { t } = useTranslation();
  const { number, when, locale } = useFormat();
  const [discarding, setDiscarding] = useState(false);
  return (
    <>
      <Alert
        type="warning"
        header={t('admin.backups.waits')}
        action={<Button onClick={() => setDiscarding(true)}>{t('admin.backups.discard')}</Button>}
      >
        <Box variant="p">
          {t('admin.backups.contents', {
            tasks: number(restore.tasks),
            users: number(restore.users),
            when: restore.newestAt ? when(restore.newestAt) : t('common.never'),
          })}
        </Box>
        <Box variant="p">{t('admin.backups.comesBack')}</Box>
        <Box variant="p">{t('admin.backups.tasksAgain')}</Box>
        {restore.leftOut.length > 0 && (
          <Box variant="p">
            {t('admin.backups.leftOut', { files: new Intl.ListFormat(locale).format(restore.leftOut) })}
          </Box>
        )}
        <Box variant="p">{t('admin.backups.restart')}</Box>
        <Copyable code text={RESTART} />
      </Alert>
      {discarding && (
        <ConfirmChange
          title={t('admin.backups.discardTitle')}
          action={t('admin.backups.discard')}
          document={DiscardRestoreDocument}
          variables={{ id: restore.id }}
          stale={[AdminRestoreDocument]}
          done={t('admin.backups.discarded')}
          onClose={() => setDiscarding(false)}
        >
          {t('admin.backups.discardHint')}
        </ConfirmChange>
      )}
    </>
  );
}
