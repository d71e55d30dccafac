import Header from '@cloudscape-design/components/header';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { TaskProgressBar, TaskStatus } from '../../components/TaskStatus';
import { useFormat } from '../../format';
import type { Task } from './activity';
import { Clamp } from '../../components/Clamp';
import { PageLink } from '../../components/PageLink';
import { taskName } from '../../components/taskName';
import { Sparkline } from './Sparkline';

const SHOWN = 6;
const isBusy = ({ progress, phase }: Task) =>
  (progress === 'IN_PROGRESS' || progress === 'STARTING') && phase !== 'WAITING';

/** The tasks that something happened to last. */
export function RecentTasks({ tasks }: { tasks: Task[] }) {
  const { t } = useTranslation();
  const columns = useColumns();
  return (
    <Table
      variant="container"
      items={tasks.slice(0, SHOWN)}
      trackBy="id"
      wrapLines
      ariaLabels={{ tableLabel: t('home.recent') }}
      header={
        <Header
          variant="h2"
          actions={<PageLink to="/tasks?orderBy=updated&descending=true">{t('home.allTasks')}</PageLink>}
        >
          {t('home.recent')}
        </Header>
      }
      columnDefinitions={columns}
    />
  );
}

function useColumns(): TableProps.ColumnDefinition<Task>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'task',
      minWidth: 160,
      header: t('home.task'),
      cell: (task) => (
        <Clamp text={taskName(task)}>
          <PageLink to={`/tasks/${task.id}`}>{taskName(task)}</PageLink>
        </Clamp>
      ),
      isRowHeader: true,
    },
    {
      id: 'status',
      minWidth: 150,
      header: t('common.status'),
      cell: (task) =>
        task.progress && (
          <TaskStatus
            progress={task.progress}
            phase={task.phase}
            reason={task.reason}
            failed={task.progressInfo?.failed}
            isBeingDeleted={task.isBeingDeleted}
          />
        ),
    },
    {
      id: 'progress',
      minWidth: 130,
      header: t('home.progress'),
      cell: (task) => (
        <>
          <TaskProgressBar
            percent={task.progressInfo?.percent}
            label={t('home.progressOf', { task: taskName(task) })}
          />
          {isBusy(task) && <Sparkline task={task.id} />}
        </>
      ),
    },
    { id: 'updated', minWidth: 130, header: t('home.updated'), cell: (task) => when(task.updatedAt) },
  ];
}
