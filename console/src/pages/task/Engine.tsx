import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { TaskEngineDocument, type TaskEngineQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { Copyable } from '../../components/Copyable';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';
import { ParameterGroups, useDefinitions } from './ParameterGroups';
import type { TabProps, Task } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { parameter } from './tab';

export function Engine({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  return (
    <SpaceBetween size="l">
      <Workers task={task} plugin={plugin} poll={poll} />
      {task.stackId !== null && <Stack task={task} />}
      <Container header={<Header variant="h2">{t('detail.engine.parameters')}</Header>}>
        <ParameterGroups task={task} plugin={plugin} only={['engine']} />
      </Container>
    </SpaceBetween>
  );
}

function Workers({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  const words = useWords(plugin);
  const definition = useDefinitions(task.type);
  const { number } = useFormat();
  // Measurements come every ten seconds: more looks would see nothing new.
  const engine = useData(TaskEngineDocument, { id: task.id }, { refetchInterval: Math.max(poll, 5_000) });
  const { desired, messages, hubInfo } = engine.data ?? {};
  const info = task.progressInfo;
  const idle = !info?.workers && !info?.waiting; // what was measured last is not true any more
  const perSecond = (name: string) => {
    const cap = parameter(task, name);
    return cap ? t('detail.engine.perSecond', { amount: cap }) : t('detail.engine.noCap');
  };
  const local = hubInfo?.platform === 'local';
  const caps = [
    { name: 'maxBytesPerSecond', label: t('detail.engine.bandwidth'), value: perSecond('maxBytesPerSecond') },
    {
      name: 'maxRequestsPerSecond',
      label: t('detail.engine.requests'),
      value: perSecond('maxRequestsPerSecond'),
    },
    {
      name: 'bandwidthTimetable',
      label: t('detail.engine.timetable'),
      value: parameter(task, 'bandwidthTimetable') || t('common.none'),
    },
  ].filter(({ name }) => definition(name));
  return (
    <Container
      header={
        <Header
          variant="h2"
          {...(hubInfo
            ? {
                description: local
                  ? words('detail.engine.local', {
                      count: Number(
                        parameter(task, 'maxConcurrency') || definition('maxConcurrency')?.default,
                      ),
                    })
                  : t('detail.engine.aws'),
              }
            : {})}
        >
          {t('detail.engine.title')}
        </Header>
      }
    >
      <SpaceBetween size="m">
        <ErrorAlert error={engine.error} retry={() => void engine.refetch()} />
        <KeyValuePairs
          columns={4}
          items={[
            { label: t('detail.engine.now'), value: number(info?.workers ?? 0) },
            {
              label: t('detail.engine.desired'),
              value: number(idle ? 0 : newest(desired, 'DesiredCapacity')),
            },
            { label: t('detail.engine.waiting'), value: number(info?.waiting ?? 0) },
            { label: t('detail.engine.running'), value: number(idle ? 0 : newest(messages, 'RunningJob')) },
            ...caps,
            {
              label: t('detail.engine.window'),
              value: parameter(task, 'transferWindow') || t('common.always'),
            },
          ]}
        />
      </SpaceBetween>
    </Container>
  );
}

/** What was measured last of a series. */
function newest(graph: TaskEngineQuery['desired'] | undefined, name: string): number | null {
  const data = graph?.series?.find((series) => series?.name === name)?.data ?? [];
  return data.findLast((value) => value !== null) ?? null;
}

const copied = (text: string | null) => (text ? <Copyable text={text} /> : '-');

function Stack({ task }: { task: Task }) {
  const { t } = useTranslation();
  const outputs = (task.stackOutputs ?? []).filter((output) => output !== null);
  return (
    <Container header={<Header variant="h2">{t('detail.engine.stack')}</Header>}>
      <SpaceBetween size="l">
        <KeyValuePairs
          columns={2}
          items={[
            { label: t('detail.engine.stackName'), value: task.stackName || '-' },
            { label: t('detail.engine.stackStatus'), value: task.stackStatus || '-' },
            { label: t('detail.engine.stackId'), value: copied(task.stackId) },
            ...(task.executionArn
              ? [{ label: t('detail.engine.execution'), value: copied(task.executionArn) }]
              : []),
            ...(task.stackStatusReason
              ? [
                  {
                    label: t('detail.engine.stackReason'),
                    value: <HubText>{task.stackStatusReason}</HubText>,
                  },
                ]
              : []),
          ]}
        />
        {outputs.length > 0 && (
          <Table
            variant="embedded"
            wrapLines
            ariaLabels={{ tableLabel: t('detail.engine.outputs') }}
            header={<Header variant="h3">{t('detail.engine.outputs')}</Header>}
            items={outputs}
            columnDefinitions={[
              {
                id: 'name',
                header: t('detail.engine.output'),
                cell: (output) => output.OutputKey,
                isRowHeader: true,
              },
              {
                id: 'value',
                header: t('detail.engine.value'),
                cell: (output) => copied(output.OutputValue),
              },
              {
                id: 'description',
                header: t('common.description'),
                cell: (output) => output.Description || '-',
              },
            ]}
          />
        )}
      </SpaceBetween>
    </Container>
  );
}
