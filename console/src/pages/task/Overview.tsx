import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import ProgressBar from '@cloudscape-design/components/progress-bar';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { TaskRunsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useScheduleText } from '../../components/schedule';
import { useFormat } from '../../format';
import { FailureGroups } from './FailureGroups';
import { Ledger } from './Ledger';
import { Reason } from './Reason';
import type { TabProps } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { useTabPath } from './tab';
import { TabLink } from './TabLink';
import { useTextOr } from './textOr';

export function Overview({ task, plugin, poll }: TabProps) {
  const failed = (task.progressInfo?.failed ?? 0) > 0; // then it is what one wants to see first
  return (
    <SpaceBetween size="l">
      {task.reason ? <Reason task={task} plugin={plugin} reason={task.reason} /> : null}
      <Progress task={task} plugin={plugin} poll={poll} />
      {failed && <FailureGroups task={task} plugin={plugin} poll={poll} />}
      <LastRun task={task} plugin={plugin} poll={poll} />
      {!failed && <FailureGroups task={task} plugin={plugin} poll={poll} />}
    </SpaceBetween>
  );
}

function Progress({ task, plugin, poll }: TabProps) {
  const words = useWords(plugin);
  const { t } = useTranslation();
  const { number, bytes, rate, duration, money, when, whenHere } = useFormat();
  const scheduleText = useScheduleText();
  const info = task.progressInfo;
  const last = task.lastRun;
  const percent = info?.percent ?? null;
  const amounts = {
    done: number(info?.doneObjects ?? 0),
    total: number(info?.objects ?? 0),
    doneBytes: bytes(info?.doneBytes ?? 0),
    totalBytes: bytes(info?.totalBytes ?? 0),
  };
  const moves = task.progress === 'IN_PROGRESS';
  return (
    <Container header={<Header variant="h2">{t('detail.overview.progress')}</Header>}>
      <SpaceBetween size="l">
        {percent === null ? (
          <NothingYet task={task} plugin={plugin} poll={poll} />
        ) : (
          <ProgressBar
            value={percent}
            ariaLabel={t('detail.overview.bar')}
            description={moves ? info?.note : null}
            additionalInfo={
              info?.listing
                ? words('detail.overview.found', amounts)
                : words('detail.overview.amount', amounts)
            }
          />
        )}
        <KeyValuePairs
          columns={4}
          items={[
            { label: t('detail.overview.rate'), value: rate(moves ? (info?.rate ?? 0) : null) },
            { label: t('detail.overview.eta'), value: duration(moves && info?.objects ? info.eta : null) },
            { label: t('detail.overview.workers'), value: number(info?.workers ?? 0) },
            { label: t('detail.overview.waiting'), value: number(info?.waiting ?? 0) },
            {
              label: t('detail.overview.spent'),
              info: (
                <InfoLink title={t('detail.overview.spent')} body={<p>{t('detail.overview.spentHelp')}</p>} />
              ),
              value: money(task.spent),
            },
            { label: t('detail.overview.schedule'), value: scheduleText(task) },
            { label: t('detail.overview.nextRun'), value: whenHere(task.nextRunAt) },
            {
              label: t('detail.overview.lastRun'),
              value: last
                ? t('detail.overview.lastResult', {
                    result: t(`runResult.${last.result}`),
                    when: when(last.endedAt),
                    took: duration(last.seconds),
                  })
                : '-',
            },
          ]}
        />
      </SpaceBetween>
    </Container>
  );
}

/** Why there is no progress to show. */
function NothingYet({ task, poll }: TabProps) {
  const { t } = useTranslation();
  const runs = useData(TaskRunsDocument, { id: task.id, count: 1 }, { refetchInterval: poll });
  const run = runs.data?.listRuns[0];
  const counts = run?.counts;
  const info = task.progressInfo;
  if (!info?.run) return <span>{t('detail.overview.noRun')}</span>;
  if (task.progress === 'ERROR' || run?.state === 'FAILED') return <span>{t('detail.overview.failed')}</span>;
  if (info.state === 'EMPTY')
    return <StatusIndicator type="warning">{t('detail.overview.empty')}</StatusIndicator>;
  if (info.listing) return <span>{t('detail.overview.listing')}</span>;
  // What was left out by filters, archived or pending is not at the destination.
  const same = counts && counts.listed > 0 && counts.same === counts.listed;
  return <span>{t(same ? 'detail.overview.nothing' : 'detail.overview.nothingNew')}</span>;
}

function LastRun({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  const textOr = useTextOr();
  const path = useTabPath();
  const runs = useData(TaskRunsDocument, { id: task.id, count: 1 }, { refetchInterval: poll });
  const run = runs.data?.listRuns[0];
  return (
    <Container
      header={
        <Header
          variant="h2"
          actions={<TabLink to={path('runs')}>{t('detail.overview.seeRuns')}</TabLink>}
          {...(run
            ? {
                description: t('detail.overview.runLine', {
                  id: run.id,
                  kind: textOr(`detail.run.kinds.${run.kind}`, run.kind),
                  state: textOr(`detail.run.states.${run.state}`, run.state),
                }),
              }
            : {})}
        >
          {t('detail.ledger.title')}
        </Header>
      }
    >
      <ErrorAlert error={runs.error} retry={() => void runs.refetch()} />
      {run && <Ledger run={run} plugin={plugin} />}
      {runs.data && !run && <Empty title={t('detail.run.none')} hint={t('detail.run.noneHint')} />}
    </Container>
  );
}
