import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { HubText } from '../../components/HubText';
import type { HomeQuery } from '../../api/generated';
import { TaskStatus } from '../../components/TaskStatus';
import { type Action, useTaskActions } from '../../components/taskActions';
import { useFormat } from '../../format';
import { type Task, tasksOf } from './activity';
import { Clamp } from '../../components/Clamp';
import { PageLink } from '../../components/PageLink';
import { pluginOf } from '../../plugins/registry';
import { useWords } from '../../plugins/words';
import { taskName } from '../../components/taskName';

type Actions = ReturnType<typeof useTaskActions>;

/** Nothing where no task needs anybody. */
export function Attention({ home }: { home: Pick<HomeQuery, 'attention'> }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const actions = useTaskActions();
  const columns = useColumns(actions);
  const tasks = tasksOf(home.attention);
  const total = home.attention?.total ?? tasks.length;
  if (tasks.length === 0) return null;

  return (
    <>
      <Table
        variant="container"
        items={tasks}
        trackBy="id"
        wrapLines
        ariaLabels={{ tableLabel: t('home.attention') }}
        header={
          <Header variant="h2" description={t('home.attentionHint')}>
            {t('home.attention')}
          </Header>
        }
        columnDefinitions={columns}
        footer={
          total > tasks.length && (
            <Box textAlign="center">
              <PageLink to="/tasks?attention=true&orderBy=updated">
                {t('home.attentionAll', { total: number(total) })}
              </PageLink>
            </Box>
          )
        }
      />
      {actions.dialog}
    </>
  );
}

function useColumns({ can, act, busy }: Actions): TableProps.ColumnDefinition<Task>[] {
  const { t } = useTranslation();
  const way = (task: Task): Action | undefined =>
    (['resume', 'retry'] as const).find((action) => can(action, [task]));
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
          <TaskStatus progress={task.progress} phase={task.phase} failed={task.progressInfo?.failed} />
        ),
    },
    { id: 'reason', minWidth: 240, header: t('home.reason'), cell: (task) => <Reason task={task} /> },
    {
      id: 'action',
      minWidth: 110,
      header: t('common.actions'),
      cell: (task) => {
        const action = way(task);
        if (!action) return '-';
        return (
          <Button
            variant="inline-link"
            disabled={busy}
            ariaLabel={`${t(`action.${action}`)}: ${taskName(task)}`}
            onClick={() => act(action, [task])}
          >
            {t(`action.${action}`)}
          </Button>
        );
      },
    },
  ];
}

/** Why a task is here: what it says itself, what failed in it, or else how its last run ended. */
function Reason({ task }: { task: Task }) {
  const { t } = useTranslation();
  const words = useWords(pluginOf(task.type));
  const failed = task.progressInfo?.failed ?? 0;
  const last = task.lastRun?.result;
  const missed = last === 'FAILED' || last === 'INCOMPLETE';
  return (
    <div className="dth-break">
      {task.reason && (
        <div>
          <HubText>{task.reason}</HubText>
        </div>
      )}
      {failed > 0 && <div>{words('home.failed', { count: failed })}</div>}
      {missed && <div>{t('home.lastRun', { result: t(`runResult.${last}`) })}</div>}
      {!task.reason && failed === 0 && !missed && '-'}
    </div>
  );
}
