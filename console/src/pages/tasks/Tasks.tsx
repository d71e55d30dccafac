import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { CreateHubDocument, TasksDocument, type TaskOrder, type TaskRowFragment } from '../../api/generated';
import { useData } from '../../api/hooks';
import { usePreference } from '../../app/preferences';
import { useSession } from '../../app/session';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { ListPreferences, type ListShown } from '../../components/ListPreferences';
import { ACTIONS, useTaskActions, type Action } from '../../components/taskActions';
import { MOVING } from '../../components/TaskStatus';
import { taskName } from '../../components/taskName';
import { useRoomy } from '../../components/useRoomy';
import { useFormat } from '../../format';
import { kindsOf } from '../../plugins/registry';
import { TaskCards } from './TaskCards';
import { COLUMNS, useColumns, USUAL } from './columns';
import { Filters } from './Filters';
import { isFiltered, useTaskListQuery, variables } from './query';

const QUICK = 3_000; // milliseconds between looks while something moves
const SLOW = 30_000;
const SIZES = [10, 20, 50, 100];

const isMoving = (task: TaskRowFragment | null) => task?.progress != null && MOVING.includes(task.progress);

export function Tasks() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const format = useFormat();
  const hub = useData(CreateHubDocument, {}, { staleTime: 600_000 });
  const types = kindsOf(hub.data?.hubInfo.plugins);
  const [query, change] = useTaskListQuery(types);
  const [shown, setShown] = usePreference<ListShown>('taskList', {
    pageSize: 20,
    wrapLines: true,
    columns: USUAL,
  });
  const columns = useColumns();
  const roomy = useRoomy();
  const [chosenIds, setChosenIds] = useState<readonly string[]>([]);
  const actions = useTaskActions(() => setChosenIds([]));

  const tasks = useData(TasksDocument, variables(query, shown.pageSize), {
    refetchInterval: ({ state }) => (state.data?.listTasksV2?.items?.some(isMoving) ? QUICK : SLOW),
  });
  const list = tasks.data?.listTasksV2;
  const items = (list?.items ?? []).filter((task) => task !== null);
  const total = list?.total ?? undefined;
  const chosen = items.filter((task) => chosenIds.includes(task.id));
  const one = chosen.length === 1 ? chosen[0] : undefined;
  const filtered = isFiltered(query);
  const lastPage = Math.max(1, Math.ceil((total ?? 0) / shown.pageSize));
  const beyond = total !== undefined && !tasks.isPlaceholderData && query.page > lastPage;
  useEffect(() => {
    if (beyond) change({ page: lastPage });
  });
  const sorted = columns.find((column) => column.sortingField === query.orderBy);

  const create = (
    <Button variant="primary" onClick={() => void navigate('/tasks/create')}>
      {t('tasks.create')}
    </Button>
  );
  function whyNot(id: 'view' | 'edit' | 'clone') {
    if (!one) return { disabled: true, disabledReason: t('action.why.one') };
    if (id === 'view' || may('operator')) return {};
    return { disabled: true, disabledReason: t('common.notAllowed', { role: t('role.operator') }) };
  }
  function choose(id: string) {
    if (id === 'view') void navigate(`/tasks/${one?.id}`);
    else if (id === 'edit') void navigate(`/tasks/${one?.id}/edit`);
    else if (id === 'clone') void navigate(`/tasks/create?clone=${one?.id}`);
    else actions.act(id as Action, chosen);
  }

  const name = (task: TaskRowFragment) => t('tasks.rowLabel', { name: taskName(task) });
  const frame = {
    trackBy: 'id',
    items,
    loading: tasks.isPending && !tasks.error,
    loadingText: t('common.loading'),
    selectedItems: chosen,
    onSelectionChange: ({ detail }: { detail: { selectedItems: TaskRowFragment[] } }) =>
      setChosenIds(detail.selectedItems.map((task) => task.id)),
    empty: tasks.error ? (
      <ErrorAlert error={tasks.error} retry={() => void tasks.refetch()} />
    ) : filtered ? (
      <Empty title={t('common.noMatch')} hint={t('common.noMatchHint')} />
    ) : (
      <Empty
        title={t('tasks.empty')}
        hint={t('tasks.emptyHint')}
        action={may('operator') ? create : undefined}
      />
    ),
    header: (
      <SpaceBetween size="s">
        {tasks.error && items.length > 0 && <ErrorAlert error={tasks.error} />}
        <Header
          variant="awsui-h1-sticky"
          counter={total === undefined ? '' : `(${format.number(total)})`}
          description={t('tasks.description')}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button
                iconName="refresh"
                ariaLabel={t('tasks.updating')}
                onClick={() => void tasks.refetch()}
              />
              <ButtonDropdown
                disabled={chosen.length === 0}
                loading={actions.busy}
                onItemClick={({ detail }) => choose(detail.id)}
                items={[
                  ...(['view', 'edit', 'clone'] as const).map((id) => ({
                    id,
                    text: t(`action.${id}`),
                    ...whyNot(id),
                  })),
                  ...ACTIONS.map((id) => actions.item(id, chosen)),
                ]}
              >
                {t('common.actions')}
              </ButtonDropdown>
              {may('operator') && create}
            </SpaceBetween>
          }
        >
          {t('tasks.title')}
        </Header>
      </SpaceBetween>
    ),
    filter: <Filters types={types} query={query} total={filtered ? total : undefined} onChange={change} />,
    pagination: (
      <Pagination
        currentPageIndex={query.page}
        pagesCount={lastPage}
        onChange={({ detail }) => change({ page: detail.currentPageIndex })}
      />
    ),
  };
  if (!roomy)
    return (
      <>
        <TaskCards {...frame} name={name} />
        {actions.dialog}
      </>
    );
  return (
    <>
      <Table
        {...frame}
        variant="full-page"
        stickyHeader
        selectionType="multi"
        columnDefinitions={columns}
        columnDisplay={COLUMNS.map((id) => ({ id, visible: id === 'task' || shown.columns.includes(id) }))}
        wrapLines={shown.wrapLines}
        sortingColumn={sorted ?? {}}
        sortingDescending={query.descending}
        onSortingChange={({ detail }) =>
          change({
            orderBy: detail.sortingColumn.sortingField as TaskOrder,
            descending: detail.isDescending ?? false,
          })
        }
        ariaLabels={{
          tableLabel: t('tasks.table'),
          selectionGroupLabel: t('tasks.selection'),
          allItemsSelectionLabel: () => t('tasks.selectAll'),
          itemSelectionLabel: (_, task) => name(task),
        }}
        preferences={
          <ListPreferences
            shown={shown}
            sizes={SIZES}
            columns={COLUMNS.filter((id) => id !== 'task').map((id) => ({
              id,
              label: t(`tasks.columns.${id}`),
            }))}
            onChange={(next) => {
              setShown(next);
              change({ page: 1 });
            }}
          />
        }
      />
      {actions.dialog}
    </>
  );
}
