import Box from '@cloudscape-design/components/box';
import { useQueryClient } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import {
  DeleteTaskDocument,
  PauseTaskDocument,
  ResumeTaskDocument,
  RetryFailedDocument,
  StartRunDocument,
  StopTaskDocument,
  type TaskProgress,
} from '../api/generated';
import { useApi } from '../api/hooks';
import { useFlash } from '../app/flash';
import { useSession } from '../app/session';
import { Confirm } from './Confirm';
import { useErrorText } from './errorText';
import { LIVE, STATUSES } from './TaskStatus';

export const ACTIONS = ['pause', 'resume', 'run', 'stop', 'retry', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

interface Subject {
  id: string;
  progress: TaskProgress | null;
  isBeingDeleted: boolean;
  progressInfo: { failed: number | null } | null;
}

/** In which statuses an action makes sense; the hub has the last word. */
const WHEN: Record<Action, readonly TaskProgress[]> = {
  pause: ['STARTING', 'IN_PROGRESS'],
  resume: ['PAUSED', 'STOPPED', 'ERROR'],
  run: ['IN_PROGRESS', 'DONE', 'STOPPED', 'ERROR'],
  stop: ['STARTING', 'IN_PROGRESS', 'PAUSED', 'ERROR'],
  retry: ['IN_PROGRESS', 'DONE', 'STOPPED', 'ERROR', 'PAUSED'],
  delete: STATUSES,
};
const DOCUMENT = {
  pause: PauseTaskDocument,
  resume: ResumeTaskDocument,
  run: StartRunDocument,
  stop: StopTaskDocument,
  retry: RetryFailedDocument,
} as const;

const asksFirst = (action: Action) => action === 'stop' || action === 'delete';

/** What must be stopped before it can be deleted. */
const isLive = (task: Subject) => task.progress !== null && LIVE.includes(task.progress);

/** Why an action makes no sense for a task, as the end of `action.why`; nothing where it does. */
function hindrance(action: Action, task: Subject): Action | 'nothingFailed' | undefined {
  if (task.isBeingDeleted) return 'delete';
  if (!task.progress || !WHEN[action].includes(task.progress)) return action;
  return action === 'retry' && !task.progressInfo?.failed ? 'nothingFailed' : undefined;
}

/**
 * What can be done with tasks, alike for one and for many: `can` says whether an action makes sense for all of them,
 * `item` is its entry in a menu, which says why where it does not; `act` does it, after asking where it cannot be taken back. `dialog` is to be rendered.
 */
export function useTaskActions(onDone?: (action: Action) => void): {
  can: (action: Action, tasks: readonly Subject[]) => boolean;
  item: (
    action: Action,
    tasks: readonly Subject[],
  ) => { id: Action; text: string; disabled?: true; disabledReason?: string };
  act: (action: Action, tasks: readonly Subject[]) => void;
  busy: boolean;
  dialog: ReactNode;
} {
  const { t } = useTranslation();
  const api = useApi();
  const flash = useFlash();
  const queries = useQueryClient();
  const textOf = useErrorText();
  const { may } = useSession();
  const [asked, setAsked] = useState<{ action: Action; tasks: readonly Subject[] } | null>(null);
  const [busy, setBusy] = useState(false);

  async function perform(action: Action, tasks: readonly Subject[]) {
    setBusy(true);
    const outcomes = await Promise.allSettled(
      tasks.map((task) =>
        action === 'delete'
          ? api.request(DeleteTaskDocument, { id: task.id, stop: isLive(task) })
          : api.request(DOCUMENT[action] as typeof PauseTaskDocument, { id: task.id }),
      ),
    );
    const errors = outcomes.flatMap((each) => (each.status === 'rejected' ? [textOf(each.reason)] : []));
    const count = tasks.length - errors.length;
    const done = action === 'delete' && tasks.some(isLive) ? 'stopAndDelete' : action;
    if (count) flash({ type: 'success', content: t(`action.done.${done}`, { count }) });
    if (errors.length)
      flash({
        type: 'error',
        content: t('action.failed', { count: errors.length, detail: [...new Set(errors)].join(' ') }),
      });
    setBusy(false);
    setAsked(null);
    if (count) onDone?.(action);
    await queries.invalidateQueries();
  }

  const live = asked?.tasks.filter(isLive).length ?? 0;
  const question =
    asked?.action === 'delete' && live ? 'stopAndDelete' : asked?.action === 'delete' ? 'delete' : 'stop';
  const dialog = asked ? (
    <Confirm
      title={t(`action.confirm.${question}`, { count: asked.tasks.length })}
      action={t(`action.${question}`)}
      busy={busy}
      onConfirm={() => void perform(asked.action, asked.tasks)}
      onDismiss={() => setAsked(null)}
    >
      {question === 'stopAndDelete' && (
        <Box margin={{ bottom: 's' }}>
          {t('action.confirm.stopFirst', { count: asked.tasks.length, live })}
        </Box>
      )}
      {t(`action.confirm.${asked.action === 'stop' ? 'stopHint' : 'deleteHint'}`)}
    </Confirm>
  ) : null;

  function why(action: Action, tasks: readonly Subject[]): string | undefined {
    if (!may('operator')) return t('common.notAllowed', { role: t('role.operator') });
    const found = tasks.map((task) => hindrance(action, task)).find((each) => each !== undefined);
    if (found) return t(`action.why.${found}`, { count: tasks.length });
    return tasks.length ? undefined : t('action.why.none');
  }

  return {
    can: (action, tasks) => why(action, tasks) === undefined,
    item: (action, tasks) => {
      const entry = { id: action, text: t(`action.${action}`) };
      const disabledReason = why(action, tasks);
      return disabledReason ? { ...entry, disabled: true, disabledReason } : entry;
    },
    act: (action, tasks) => (asksFirst(action) ? setAsked({ action, tasks }) : void perform(action, tasks)),
    busy,
    dialog,
  };
}
