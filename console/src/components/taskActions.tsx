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

export const ACTIONS = ['pause', 'resume', 'run', 'stop', 'retry', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

interface Subject {
  id: string;
  progress: TaskProgress | null;
  progressInfo: { failed: number | null } | null;
}

/** In which statuses an action makes sense; the hub has the last word. */
const WHEN: Record<Action, readonly TaskProgress[]> = {
  pause: ['STARTING', 'IN_PROGRESS'],
  resume: ['PAUSED', 'STOPPED', 'ERROR'],
  run: ['IN_PROGRESS', 'DONE', 'STOPPED', 'ERROR'],
  stop: ['STARTING', 'IN_PROGRESS', 'PAUSED', 'ERROR'],
  retry: ['IN_PROGRESS', 'DONE', 'STOPPED', 'ERROR', 'PAUSED'],
  delete: ['STOPPED', 'DONE', 'ERROR'],
};
const DOCUMENT = {
  pause: PauseTaskDocument,
  resume: ResumeTaskDocument,
  run: StartRunDocument,
  stop: StopTaskDocument,
  retry: RetryFailedDocument,
  delete: DeleteTaskDocument,
} as const;

const asksFirst = (action: Action) => action === 'stop' || action === 'delete';

export function possible(action: Action, task: Subject): boolean {
  if (!task.progress || !WHEN[action].includes(task.progress)) return false;
  return action !== 'retry' || (task.progressInfo?.failed ?? 0) > 0;
}

/**
 * What can be done with tasks, alike for one and for many: `can` says whether an action makes sense for all of them,
 * `act` does it, after asking where it cannot be taken back. `dialog` is to be rendered.
 */
export function useTaskActions(onDone?: (action: Action) => void): {
  can: (action: Action, tasks: readonly Subject[]) => boolean;
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
      tasks.map((task) => api.request(DOCUMENT[action] as typeof PauseTaskDocument, { id: task.id })),
    );
    const errors = outcomes.flatMap((each) => (each.status === 'rejected' ? [textOf(each.reason)] : []));
    const count = tasks.length - errors.length;
    if (count) flash({ type: 'success', content: t(`action.done.${action}`, { count }) });
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

  const dialog =
    asked && (asked.action === 'stop' || asked.action === 'delete') ? (
      <Confirm
        title={t(`action.confirm.${asked.action}`, { count: asked.tasks.length })}
        action={t(`action.${asked.action}`)}
        busy={busy}
        onConfirm={() => void perform(asked.action, asked.tasks)}
        onDismiss={() => setAsked(null)}
      >
        {t(`action.confirm.${asked.action}Hint`)}
      </Confirm>
    ) : null;

  return {
    can: (action, tasks) =>
      may('operator') && tasks.length > 0 && tasks.every((task) => possible(action, task)),
    act: (action, tasks) => (asksFirst(action) ? setAsked({ action, tasks }) : void perform(action, tasks)),
    busy,
    dialog,
  };
}
