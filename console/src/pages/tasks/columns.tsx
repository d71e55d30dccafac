import Box from '@cloudscape-design/components/box';
import type { TableProps } from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { TaskOrder, TaskRowFragment } from '../../api/generated';
import { Clamp } from '../../components/Clamp';
import { PageLink } from '../../components/PageLink';
import { RunStrip } from '../../components/RunStrip';
import { LIVE, TaskProgressBar, TaskStatus } from '../../components/TaskStatus';
import { useScheduleText } from '../../components/schedule';
import { taskName } from '../../components/taskName';
import { printable } from '../../components/visible';
import { useFormat } from '../../format';
import { useKindTexts } from '../../plugins/registry';

export const COLUMNS = [
  'task',
  'status',
  'way',
  'recent',
  'lastRun',
  'took',
  'nextRun',
  'schedule',
  'objects',
  'failed',
  'engine',
  'created',
  'createdBy',
  'updated',
  'spent',
  'id',
] as const;
export type Column = (typeof COLUMNS)[number];

export const USUAL: readonly Column[] = ['task', 'status', 'way', 'recent', 'lastRun', 'took', 'nextRun'];

/** The least room that a text needs, in pixels. With the usual columns, a laptop shows all of them. */
const LEAST: Partial<Record<Column, number>> = {
  task: 180,
  status: 165,
  way: 200,
  recent: 120,
  nextRun: 130,
  created: 130,
  updated: 130,
  id: 200,
};

/** Columns that the hub can sort by. */
const SORTED_BY: Partial<Record<Column, TaskOrder>> = {
  task: 'description',
  status: 'progress',
  created: 'created',
  updated: 'updated',
};

export type Cells = Record<Column, (task: TaskRowFragment) => ReactNode>;

/** What each column says of a task. */
export function useCells(): Cells {
  const { t } = useTranslation();
  const format = useFormat();
  const scheduleText = useScheduleText();
  const { nameOf } = useKindTexts();
  return {
    task: (task) => {
      const name = printable(taskName(task));
      return (
        <Clamp text={name}>
          <PageLink to={`/tasks/${task.id}`}>{name}</PageLink>
        </Clamp>
      );
    },
    status: (task) => <Status task={task} />,
    way: (task) => <Clamp text={printable(`${task.source ?? ''} → ${task.destination ?? ''}`)} />,
    recent: (task) => <RunStrip runs={task.recentRuns} />,
    lastRun: (task) => (task.lastRun ? t(`runResult.${task.lastRun.result}`) : '-'),
    took: (task) => format.duration(task.lastRun?.seconds),
    nextRun: (task) => format.when(task.nextRunAt),
    schedule: scheduleText,
    objects: (task) =>
      t('tasks.objects', {
        done: format.number(task.progressInfo?.doneObjects),
        total: format.number(task.progressInfo?.objects),
      }),
    failed: (task) => format.number(task.progressInfo?.failed),
    engine: (task) => nameOf(task.type),
    created: (task) => format.when(task.createdAt),
    createdBy: (task) => task.createdBy || '-',
    updated: (task) => format.when(task.updatedAt),
    spent: (task) => format.money(task.spent),
    id: (task) => <span className="dth-break">{task.id}</span>,
  };
}

export function useColumns(): TableProps.ColumnDefinition<TaskRowFragment>[] {
  const { t } = useTranslation();
  const cells = useCells();
  return COLUMNS.map((column) => ({
    id: column,
    header: t(`tasks.columns.${column}`),
    cell: cells[column],
    minWidth: LEAST[column] ?? 90,
    ...(SORTED_BY[column] ? { sortingField: SORTED_BY[column] } : {}),
    ...(column === 'task' ? { isRowHeader: true } : {}),
  }));
}

/** The status in words; of a task that moves also how far it is, and how fast. */
function Status({ task }: { task: TaskRowFragment }) {
  const { t } = useTranslation();
  const { rate, duration } = useFormat();
  const info = task.progressInfo;
  if (!task.progress) return <>-</>;
  const moves = LIVE.includes(task.progress) && task.phase !== 'WAITING' && info?.percent != null;
  return (
    <>
      <TaskStatus
        progress={task.progress}
        phase={task.phase}
        reason={task.reason}
        failed={info?.failed}
        isBeingDeleted={task.isBeingDeleted}
      />
      {moves && (
        <>
          <TaskProgressBar
            percent={info.percent}
            label={t('tasks.progressLabel', { name: taskName(task) })}
          />
          {task.progress === 'IN_PROGRESS' && (
            <Box variant="small" display="block">
              {t('tasks.pace', { rate: rate(info.rate), eta: duration(info.eta) })}
            </Box>
          )}
        </>
      )}
    </>
  );
}
