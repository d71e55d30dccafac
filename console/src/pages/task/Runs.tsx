import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { TaskCertificateDocument, TaskRunsDocument } from '../../api/generated';
import { useApi, useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useErrorText } from '../../components/errorText';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';
import { Ledger } from './Ledger';
import type { Run } from './ledger';
import { pretty, saveFile } from '../../components/saveFile';
import { resultOf } from '../../plugins/useJob';
import type { TabProps, TaskPlugin } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { useShown, useTabPath } from './tab';
import { TabLink } from './TabLink';
import { Timeline } from './Timeline';
import { useTextOr } from './textOr';

const MOST = 100; // runs that the hub gives at once; it keeps about as many

export function Runs({ task, plugin, poll }: TabProps) {
  const [shown, change] = useShown();
  const runs = useData(TaskRunsDocument, { id: task.id, count: MOST }, { refetchInterval: poll });
  const items = runs.data?.listRuns ?? [];
  const chosen = items.find((run) => String(run.id) === shown.get('run')) ?? items[0];
  return (
    <SpaceBetween size="l">
      <ErrorAlert error={runs.error} retry={() => void runs.refetch()} />
      {items.length > 0 && <Timeline id={task.id} runs={items} now={runs.dataUpdatedAt} poll={poll} />}
      <RunTable
        id={task.id}
        runs={items}
        loading={runs.isPending}
        chosen={chosen}
        onChoose={(run) => change({ run: String(run.id) })}
      />
      {chosen && <ChosenRun run={chosen} plugin={plugin} />}
    </SpaceBetween>
  );
}

function RunTable(props: {
  id: string;
  runs: Run[];
  loading: boolean;
  chosen: Run | undefined;
  onChoose: (run: Run) => void;
}) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const { id, runs, chosen } = props;
  return (
    <Table
      variant="container"
      loading={props.loading}
      loadingText={t('common.loading')}
      items={runs}
      trackBy={(run) => String(run.id)}
      selectionType="single"
      selectedItems={chosen ? [chosen] : []}
      onSelectionChange={({ detail }) => detail.selectedItems[0] && props.onChoose(detail.selectedItems[0])}
      wrapLines
      ariaLabels={{
        tableLabel: t('detail.run.title'),
        selectionGroupLabel: t('detail.run.choice'),
        itemSelectionLabel: (_, run) => t('detail.run.choose', { id: run.id }),
      }}
      header={
        <Header
          variant="h2"
          counter={`(${number(runs.length)})`}
          info={
            <InfoLink title={t('detail.run.certificate')} body={<p>{t('detail.run.certificateHelp')}</p>} />
          }
        >
          {t('detail.run.title')}
        </Header>
      }
      empty={<Empty title={t('detail.run.none')} hint={t('detail.run.noneHint')} />}
      columnDefinitions={useColumns(id)}
    />
  );
}

function useColumns(id: string): TableProps.ColumnDefinition<Run>[] {
  const { t } = useTranslation();
  const { number, bytes, duration, when } = useFormat();
  const textOr = useTextOr();
  return [
    { id: 'id', minWidth: 75, header: t('detail.run.id'), cell: (run) => run.id, isRowHeader: true },
    {
      id: 'kind',
      minWidth: 100,
      header: t('detail.run.kind'),
      cell: (run) => textOr(`detail.run.kinds.${run.kind}`, run.kind),
    },
    { id: 'state', header: t('detail.run.state'), cell: (run) => <RunState run={run} />, minWidth: 170 },
    { id: 'started', header: t('detail.run.started'), cell: (run) => when(run.startedAt), minWidth: 140 },
    { id: 'ended', header: t('detail.run.ended'), cell: (run) => when(run.endedAt), minWidth: 140 },
    {
      id: 'duration',
      minWidth: 110,
      header: t('detail.run.duration'),
      cell: (run) => duration(secondsOf(run)),
    },
    {
      id: 'counts',
      minWidth: 120,
      header: t('detail.run.counts'),
      cell: ({ counts }) => `${number(counts.done)} / ${number(counts.enqueued)}`,
    },
    {
      id: 'failed',
      minWidth: 80,
      header: t('detail.run.failed'),
      cell: ({ counts }) => number(counts.failed + counts.delete_failed),
    },
    {
      id: 'bytes',
      minWidth: 110,
      header: t('detail.run.bytes'),
      cell: ({ counts }) => bytes(counts.done_bytes),
    },
    {
      id: 'certificate',
      minWidth: 140,
      header: t('detail.run.certificate'),
      cell: (run) => (run.state === 'DONE' ? <Certificate task={id} run={run.id} /> : '-'),
    },
    {
      id: 'notes',
      header: t('detail.run.notes'),
      minWidth: 260,
      cell: (run) => <HubText>{[run.error, ...run.notes].filter(Boolean).join(' ') || '-'}</HubText>,
    },
  ];
}

const STATE: Record<string, StatusIndicatorProps.Type> = { DONE: 'success', FAILED: 'error' };

function RunState({ run }: { run: Run }) {
  const textOr = useTextOr();
  return (
    <StatusIndicator type={STATE[run.state] ?? 'in-progress'}>
      {textOr(`detail.run.states.${run.state}`, run.state)}
    </StatusIndicator>
  );
}

/** How long a run took, or has been going. */
function secondsOf(run: Run): number | null {
  if (!run.startedAt) return null;
  const end = run.endedAt ? Date.parse(run.endedAt) : Date.now();
  return Math.max(0, (end - Date.parse(run.startedAt)) / 1000);
}

function Certificate({ task, run }: { task: string; run: number }) {
  const { t } = useTranslation();
  const api = useApi();
  const flash = useFlash();
  const textOf = useErrorText();
  const [busy, setBusy] = useState(false);

  async function download() {
    setBusy(true);
    try {
      const result = await resultOf(api, TaskCertificateDocument, { id: task, run });
      const { certificate } = JSON.parse(result) as { certificate: unknown };
      saveFile(`certificate-${task}-${run}.json`, pretty(JSON.stringify(certificate)));
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
    setBusy(false);
  }

  return (
    <Button
      variant="inline-link"
      iconName="download"
      loading={busy}
      ariaLabel={t('detail.run.certificateOf', { id: run })}
      onClick={() => void download()}
    >
      {t('common.download')}
    </Button>
  );
}

function ChosenRun({ run, plugin }: { run: Run; plugin: TaskPlugin }) {
  const words = useWords(plugin);
  const { t } = useTranslation();
  const path = useTabPath();
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={<RunState run={run} />}
          actions={
            <TabLink to={path('objects', { run: String(run.id) })}>{words('detail.run.objects')}</TabLink>
          }
        >
          {t('detail.overview.run', { id: run.id })}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {run.error !== '' && <ErrorAlert error={run.error} header={t('detail.run.error')} />}
        <Ledger run={run} plugin={plugin} />
        {run.notes.length > 0 && (
          <div>
            <Header variant="h3">{t('detail.run.notes')}</Header>
            <ul>
              {run.notes.map((note) => (
                <li key={note}>
                  <HubText>{note}</HubText>
                </li>
              ))}
            </ul>
          </div>
        )}
      </SpaceBetween>
    </Container>
  );
}
