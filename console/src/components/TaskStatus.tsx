import Popover from '@cloudscape-design/components/popover';
import ProgressBar from '@cloudscape-design/components/progress-bar';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import type { TaskPhase, TaskProgress } from '../api/generated';
import { HubText } from './HubText';

const KIND: Record<TaskProgress, StatusIndicatorProps.Type> = {
  STARTING: 'pending',
  IN_PROGRESS: 'in-progress',
  PAUSED: 'stopped',
  STOPPING: 'pending',
  STOPPED: 'stopped',
  DONE: 'success',
  ERROR: 'error',
};

export const STATUSES = Object.keys(KIND) as TaskProgress[];
/** Of these something runs, or is about to. */
export const LIVE: readonly TaskProgress[] = ['STARTING', 'IN_PROGRESS', 'PAUSED', 'STOPPING'];
/** These change by themselves. */
export const MOVING: readonly TaskProgress[] = ['STARTING', 'IN_PROGRESS', 'STOPPING'];

/** What a task in progress does. The other phases are those of its progress. */
const DOES = {
  LISTING: 'in-progress',
  COPYING: 'in-progress',
  DELETING: 'in-progress',
  WAITING: 'pending',
} as const satisfies Partial<Record<TaskPhase, StatusIndicatorProps.Type>>;
const isDoing = (phase: TaskPhase): phase is keyof typeof DOES => phase in DOES;

/** A task's status; one that is paused or in error tells why, and one that is through how much it could not copy. */
export function TaskStatus(props: {
  progress: TaskProgress;
  phase?: TaskPhase | null;
  reason?: string | null;
  failed?: number | null | undefined;
  isBeingDeleted?: boolean;
}) {
  const { t } = useTranslation();
  const { progress, phase, reason, failed, isBeingDeleted } = props;
  const incomplete = progress === 'DONE' && (failed ?? 0) > 0;
  const does = progress === 'IN_PROGRESS' && phase && isDoing(phase) ? phase : null;
  const kind = does ? DOES[does] : KIND[progress];
  const usual = does
    ? t(`phase.${does}`)
    : t(isBeingDeleted ? 'progress.DELETED_NEXT' : `progress.${progress}`);
  const text = incomplete ? t('progress.DONE_failed', { count: failed ?? 0 }) : usual;
  const indicator = <StatusIndicator type={incomplete ? 'warning' : kind}>{text}</StatusIndicator>;
  if (!reason) return indicator;
  return (
    <Popover
      header={text}
      content={<HubText>{reason}</HubText>}
      triggerAriaLabel={`${text}: ${reason}`}
      wrapTriggerText={false}
    >
      {indicator}
    </Popover>
  );
}

export function TaskProgressBar({ percent, label }: { percent: number | null | undefined; label: string }) {
  if (percent === null || percent === undefined) return <>-</>;
  return (
    <div className="dth-progress">
      <ProgressBar value={percent} ariaLabel={label} />
    </div>
  );
}
