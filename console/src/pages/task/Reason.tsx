import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import {
  PreflightDocument,
  TaskErrorDocument,
  TaskMarkersDocument,
  type CreateTaskInput,
} from '../../api/generated';
import { useData } from '../../api/hooks';
import { useSession } from '../../app/session';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { useTaskActions } from '../../components/taskActions';
import type { Task, TaskPlugin } from '../../plugins/types';
import { useJob } from '../../plugins/useJob';
import { useWords } from '../../plugins/words';
import { Preflight, type PreflightReport } from '../create/Preflight';
import { useTabPath } from './tab';
import { TabLink } from './TabLink';

/** How much of the logs is shown around a failure: milliseconds before and after it. */
const AROUND = [300_000, 60_000] as const;
const LOGIN = /\/\/[^/@\s]*@/g;

/** Why the task does not go on, and what to do about it. */
export function Reason({ task, plugin, reason }: { task: Task; plugin: TaskPlugin; reason: string }) {
  const words = useWords(plugin);
  const { t } = useTranslation();
  const path = useTabPath();
  const navigate = useNavigate();
  const { may } = useSession();
  const actions = useTaskActions();
  const failed = task.progress === 'ERROR';
  const error = useData(TaskErrorDocument, { id: task.id }, { enabled: failed });
  const code = error.data?.getErrorMessage?.errCode ?? 'UN_KNOWN';
  const state =
    task.progress === 'ERROR' || task.progress === 'PAUSED' || task.progress === 'IN_PROGRESS'
      ? task.progress
      : 'other';
  const around = useAround(task, code === 'FINDER_ERROR');
  const preflight = useJob(PreflightDocument, { input: inputOf(task) });
  const report = preflight.result ? (JSON.parse(preflight.result) as PreflightReport) : undefined;
  const advice = {
    ERROR: words(`detail.todo.${code}`),
    // As the hub words it where somebody pressed the button.
    PAUSED: reason.startsWith('paused by ') ? t('detail.todo.byUser') : t('detail.todo.PAUSED'),
    IN_PROGRESS: t('detail.todo.IN_PROGRESS'),
    other: '',
  }[state];
  return (
    <Alert
      type={failed ? 'error' : state === 'PAUSED' ? 'warning' : 'info'}
      header={t(`detail.why.${state}`)}
      action={
        actions.can('resume', [task]) && (
          <Button loading={actions.busy} onClick={() => actions.act('resume', [task])}>
            {t('action.resume')}
          </Button>
        )
      }
    >
      <SpaceBetween size="xs">
        <HubText>
          <strong>{reason}</strong>
        </HubText>
        {advice ? <span>{advice}</span> : null}
        {(failed || state === 'PAUSED' || task.lastRun?.result === 'FAILED') && (
          <TabLink to={path('logs', around)}>{t('detail.todo.logs')}</TabLink>
        )}
        <SpaceBetween direction="horizontal" size="xs">
          {may('operator') && (
            <Button loading={preflight.running} onClick={preflight.run}>
              {t('detail.todo.preflight')}
            </Button>
          )}
          {may('operator') && (
            <Button onClick={() => void navigate(`/tasks/${task.id}/edit`)}>{t('action.edit')}</Button>
          )}
          {actions.can('retry', [task]) && (
            <Button loading={actions.busy} onClick={() => actions.act('retry', [task])}>
              {t('action.retry')}
            </Button>
          )}
          <CopyToClipboard
            variant="button"
            copyButtonText={t('detail.todo.copy')}
            copyButtonAriaLabel={t('detail.todo.copy')}
            copySuccessText={t('common.copied')}
            copyErrorText={t('common.copyFailed')}
            textToCopy={diagnostics(task, code)}
          />
        </SpaceBetween>
        <ErrorAlert error={preflight.error} />
        {report && <Preflight report={report} />}
      </SpaceBetween>
    </Alert>
  );
}

/** The logs around the moment at which the task failed, or its last run did. */
function useAround(task: Task, listed: boolean): Record<string, string> {
  const ended = task.progress === 'ERROR' || task.progress === 'PAUSED';
  const what = ['pausedByHub', 'failedByHub'];
  const markers = useData(TaskMarkersDocument, { id: task.id, what }, { enabled: ended });
  const marked = ended ? markers.data?.listAudit.items[0]?.at : null;
  const at = Date.parse(marked ?? task.lastRun?.endedAt ?? task.updatedAt ?? '');
  const [before, after] = AROUND;
  return {
    from: String(at - before),
    to: String(at + after),
    ...(listed ? { stream: 'finder*' } : {}),
  };
}

/** The task as it would be created again. */
function inputOf(task: Task): CreateTaskInput {
  return {
    type: task.type!,
    scheduleType: task.scheduleType,
    parameters: task.parameters ?? [],
  };
}

/** What somebody who helps wants to know, in English as the hub speaks, without what an address has of a login. */
function diagnostics(task: Task, code: string): string {
  const info = task.progressInfo;
  const last = task.lastRun;
  return [
    `Task: ${task.id} (${task.type})`,
    `Status: ${task.progress}, phase ${task.phase}`,
    `Reason: ${task.reason}`,
    ...(task.progress === 'ERROR' ? [`Code: ${code}`] : []),
    `From: ${task.source}`,
    `To: ${task.destination}`,
    `Schedule: ${[task.schedule, task.scheduleTimeZone].filter(Boolean).join(' ')}`,
    `Objects: ${info?.doneObjects ?? 0} of ${info?.objects ?? 0}, ${info?.failed ?? 0} failed, run ${info?.run ?? 0}`,
    `Last run: ${last ? `${last.id} ${last.result}, ended ${last.endedAt}, took ${last.seconds} s` : 'none'}`,
    'Parameters:',
    ...(task.parameters ?? []).map((each) => `  ${each?.ParameterKey}=${each?.ParameterValue}`),
  ]
    .join('\n')
    .replaceAll(LOGIN, '//');
}
