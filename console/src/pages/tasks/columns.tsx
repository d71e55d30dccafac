import Box from '@cloudscape-design/components/box';
import Link from '@cloudscape-design/components/link';
import type { TableProps } from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { TaskOrder, TaskRowFragment } from '../../api/generated';
import { LIVE, TaskProgressBar, TaskStatus } from '../../components/TaskStatus';
import { useScheduleText } from '../../components/schedule';
import { printable } from '../../components/visible';
import { useFormat } from '../../format';
import { useKindTexts } from '../../plugins/registry';

export const COLUMNS = [
  'id',
  'description',
  'status',
  'progress',
  'objects',
  'failed',
  'rate',
  'eta',
  'source',
  'destination',
  'engine',
  'schedule',
  'nextRun',
  'lastRun',
  'created',
  'createdBy',
  'updated',
  'spent',
] as const;
export type Column = (typeof COLUMNS)[number];

export const USUAL: readonly Column[] = [
  'id',
  'description',
  'status',
  'progress',
  'rate',
  'eta',
  'source',
  'destination',
  'schedule',
  'created',
];

/** Of these the text needs more room than others, in pixels. */
const WIDTH: Partial<Record<Column, number>> = {
  id: 110,
  description: 200,
  status: 170,
  progress: 170,
  source: 200,
  destination: 200,
  schedule: 140,
  created: 170,
  updated: 170,
  nextRun: 170,
};

/** Columns that the hub can sort by. */
const SORTED_BY: Partial<Record<Column, TaskOrder>> = {
  description: 'description',
  status: 'progress',
  created: 'created',
  updated: 'updated',
};

export const shortId = (id: string) => id.slice(0, 8);

export function useColumns(): TableProps.ColumnDefinition<TaskRowFragment>[] {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const format = useFormat();
  const scheduleText = useScheduleText();
  const { nameOf } = useKindTexts();

  const cells: Record<Column, (task: TaskRowFragment) => ReactNode> = {
    id: (task) => (
      <Link
        href={`/tasks/${task.id}`}
        onFollow={(event) => {
          event.preventDefault();
          void navigate(`/tasks/${task.id}`);
        }}
      >
        {shortId(task.id)}
      </Link>
    ),
    description: (task) => <span className="dth-break">{printable(task.description ?? '') || '-'}</span>,
    source: (task) => <span className="dth-break">{task.source}</span>,
    destination: (task) => <span className="dth-break">{task.destination}</span>,
    engine: (task) => nameOf(task.type),
    schedule: scheduleText,
    status: (task) =>
      task.progress && (
        <TaskStatus
          progress={task.progress}
          phase={task.phase}
          reason={task.reason}
          failed={task.progressInfo?.failed}
        />
      ),
    progress: (task) =>
      task.progressInfo?.listing && !task.progressInfo.objects ? (
        <Box color="text-status-inactive">{t('tasks.listing')}</Box>
      ) : (
        <TaskProgressBar
          percent={task.progressInfo?.percent}
          label={t('tasks.progressLabel', { name: task.description || shortId(task.id) })}
        />
      ),
    objects: (task) =>
      t('tasks.objects', {
        done: format.number(task.progressInfo?.doneObjects),
        total: format.number(task.progressInfo?.objects),
      }),
    failed: (task) => format.number(task.progressInfo?.failed),
    rate: (task) => (isLive(task) ? format.rate(task.progressInfo?.rate) : '-'),
    eta: (task) => (isLive(task) ? format.duration(task.progressInfo?.eta) : '-'),
    created: (task) => format.when(task.createdAt),
    updated: (task) => format.when(task.updatedAt),
    nextRun: (task) => format.when(task.nextRunAt),
    lastRun: (task) => (task.lastRun ? t(`runResult.${task.lastRun.result}`) : '-'),
    createdBy: (task) => task.createdBy || '-',
    spent: (task) => format.money(task.spent),
  };
  return COLUMNS.map((column) => ({
    id: column,
    header: t(`tasks.columns.${column}`),
    cell: cells[column],
    width: WIDTH[column] ?? 110,
    ...(SORTED_BY[column] ? { sortingField: SORTED_BY[column] } : {}),
    ...(column === 'id' ? { isRowHeader: true } : {}),
  }));
}

const isLive = (task: TaskRowFragment) => task.progress !== null && LIVE.includes(task.progress);
