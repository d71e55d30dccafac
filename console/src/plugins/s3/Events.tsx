import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { TaskRunsDocument, TaskWebhookDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { useSession } from '../../app/session';
import { Copyable } from '../../components/Copyable';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { Ledger } from '../../pages/task/Ledger';
import type { TabProps } from '../types';
import { parameter } from '../../pages/task/tab';

const HIDDEN = '\u2022'.repeat(12);

export function Events({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const mode = parameter(task, 'srcEvent');
  if (mode !== 'Create' && mode !== 'CreateAndDelete')
    return (
      <Container header={<Header variant="h2">{t('s3.events.title')}</Header>}>
        <Empty
          title={t('s3.events.off')}
          hint={t('s3.events.offHint')}
          action={
            may('operator') && (
              <Button onClick={() => void navigate(`/tasks/${task.id}/edit`)}>{t('s3.events.turnOn')}</Button>
            )
          }
        />
      </Container>
    );
  return (
    <SpaceBetween size="l">
      <Container
        header={
          <Header variant="h2" description={t('s3.events.help')}>
            {t('s3.events.title')}
          </Header>
        }
      >
        <KeyValuePairs items={[{ label: t('s3.events.mode'), value: t(`s3.events.modes.${mode}`) }]} />
      </Container>
      {may('operator') ? <Endpoint id={task.id} /> : <Alert>{t('s3.events.operators')}</Alert>}
      <EventRuns task={task} plugin={plugin} poll={poll} />
    </SpaceBetween>
  );
}

/** Where the source is to send its notifications, and how each kind of source is told so. */
function Endpoint({ id }: { id: string }) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  const webhook = useData(TaskWebhookDocument, { id }, { staleTime: 600_000 });
  const { url = '', token = '' } = webhook.data?.getWebhook ?? {};
  const shown = open ? token : HIDDEN;
  const senders = [
    [
      'minio',
      `mc admin config set ALIAS notify_webhook:dth endpoint="${url}" auth_token="Bearer ${shown}"\n` +
        'mc admin service restart ALIAS\n' +
        'mc event add ALIAS/BUCKET arn:minio:sqs::dth:webhook --event put,delete',
    ],
    ['ceph', `push-endpoint=${url}?token=${shown}`],
    ['sns', `${url}?token=${shown}`],
    ['eventBridge', `authorization: Bearer ${shown}`],
  ] as const;
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('s3.events.secret')}
          actions={
            <Button ariaExpanded={open} onClick={() => setOpen(!open)}>
              {open ? t('s3.events.hide') : t('s3.events.show')}
            </Button>
          }
        >
          {t('s3.events.endpoint')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <ErrorAlert error={webhook.error} retry={() => void webhook.refetch()} />
        {webhook.data && (
          <SpaceBetween size="m">
            <KeyValuePairs
              columns={2}
              items={[
                { label: t('s3.events.url'), value: <Copyable text={url} /> },
                { label: t('s3.events.token'), value: open ? <Copyable text={token} /> : HIDDEN },
              ]}
            />
            <Box variant="h3">{t('s3.events.setUp')}</Box>
            {!open && <Box color="text-body-secondary">{t('s3.events.withToken')}</Box>}
            <KeyValuePairs
              columns={2}
              minColumnWidth={320}
              items={senders.map(([sender, text]) => ({
                label: t(`s3.events.senders.${sender}`),
                value: (
                  <SpaceBetween size="xs">
                    <span>{t(`s3.events.${sender}`)}</span>
                    <Copyable code text={text} />
                  </SpaceBetween>
                ),
              }))}
            />
          </SpaceBetween>
        )}
      </SpaceBetween>
    </Container>
  );
}

function EventRuns({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const runs = useData(TaskRunsDocument, { id: task.id, count: 100 }, { refetchInterval: poll });
  const ofEvents = runs.data?.listRuns.filter((run) => run.kind === 'events') ?? [];
  return (
    <Container header={<Header variant="h2">{t('s3.events.runs')}</Header>}>
      <SpaceBetween size="l">
        <ErrorAlert error={runs.error} retry={() => void runs.refetch()} />
        {runs.data && !ofEvents.length && <Box color="text-body-secondary">{t('s3.events.runsNone')}</Box>}
        {ofEvents.map((run) => (
          <section key={run.id} aria-label={t('detail.overview.run', { id: run.id })}>
            <Header variant="h3" description={when(run.startedAt)}>
              {t('detail.overview.run', { id: run.id })}
            </Header>
            <Ledger run={run} plugin={plugin} />
          </section>
        ))}
      </SpaceBetween>
    </Container>
  );
}
