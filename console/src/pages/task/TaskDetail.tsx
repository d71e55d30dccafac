import Box from '@cloudscape-design/components/box';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Tabs from '@cloudscape-design/components/tabs';
import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useEffect, useRef, type ComponentType } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate, useParams, useSearchParams } from 'react-router';
import { TaskDetailDocument } from '../../api/generated';
import { ApiError } from '../../api/client';
import { useData } from '../../api/hooks';
import { Bounded } from '../../app/Fault';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { MOVING } from '../../components/TaskStatus';
import { pluginOf } from '../../plugins/registry';
import type { TabProps, Task, TaskPlugin } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { useTabPath } from './tab';
import { TabLink } from './TabLink';
import { TaskHeader } from './TaskHeader';

const QUICK = 2_000; // milliseconds between looks while the task moves
const SLOW = 30_000;

/** The tabs of every kind of task, in their order. Each is loaded when it is first opened. */
const TABS: readonly (readonly [id: string, Content: ComponentType<TabProps>])[] = [
  ['overview', lazy(async () => ({ default: (await import('./Overview')).Overview }))],
  ['details', lazy(async () => ({ default: (await import('./Details')).Details }))],
  ['engine', lazy(async () => ({ default: (await import('./Engine')).Engine }))],
  ['runs', lazy(async () => ({ default: (await import('./Runs')).Runs }))],
  ['objects', lazy(async () => ({ default: (await import('./Objects')).Objects }))],
  ['monitoring', lazy(async () => ({ default: (await import('./Monitoring')).Monitoring }))],
  ['logs', lazy(async () => ({ default: (await import('./Logs')).Logs }))],
  ['options', lazy(async () => ({ default: (await import('./Options')).Options }))],
  ['audit', lazy(async () => ({ default: (await import('./AuditTrail')).AuditTrail }))],
];
const BEFORE_OWN = 'logs'; // after this one come those that only some kinds have

/** The tabs of one kind of task. */
function tabsOf({ tabs }: TaskPlugin): [id: string, Content: ComponentType<TabProps>][] {
  const shared = new Set(TABS.map(([id]) => id));
  const own = Object.entries(tabs).filter(([id]) => !shared.has(id));
  return TABS.flatMap(([id, Content]) => [[id, tabs[id] ?? Content], ...(id === BEFORE_OWN ? own : [])]);
}

const pollOf = (task: Task | null | undefined) =>
  task?.progress && MOVING.includes(task.progress) ? QUICK : SLOW;

export function TaskDetail() {
  const { id = '' } = useParams();
  return <Detail key={id} id={id} />; // nothing of one task is shown of another
}

function Detail({ id }: { id: string }) {
  const { t } = useTranslation();
  const found = useData(
    TaskDetailDocument,
    { id },
    { refetchInterval: ({ state }) => pollOf(state.data?.getTask) },
  );
  const task = found.data?.getTask;
  useFreshWhenItChanges(task?.progress);

  if (isMissing(found.error) || (found.data && !task))
    return (
      <SpaceBetween size="m">
        <Box variant="h1" textAlign="center" padding={{ top: 'xl' }}>
          {t('detail.missing')}
        </Box>
        <Empty
          title={id}
          hint={t('detail.missingHint')}
          action={<TabLink to="/tasks">{t('detail.toTasks')}</TabLink>}
        />
      </SpaceBetween>
    );
  return (
    <SpaceBetween size="l">
      <ErrorAlert error={found.error} retry={() => void found.refetch()} />
      {task ? <Parts task={task} /> : !found.error && <Waiting />}
    </SpaceBetween>
  );
}

const isMissing = (error: unknown) => error instanceof ApiError && error.code === 'NOT_FOUND';

/** A task that ends has its last counts now; without this they would come with the next slow look. */
function useFreshWhenItChanges(progress: string | null | undefined) {
  const queries = useQueryClient();
  const before = useRef(progress);
  useEffect(() => {
    if (before.current && before.current !== progress) void queries.invalidateQueries();
    before.current = progress;
  }, [progress, queries]);
}

function Parts({ task }: { task: Task }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const path = useTabPath();
  const [shown] = useSearchParams();
  const plugin = pluginOf(task.type);
  const words = useWords(plugin);
  const tabs = tabsOf(plugin);
  const [active] = tabs.find(([id]) => id === shown.get('tab')) ?? ['overview'];
  return (
    <SpaceBetween size="s">
      <TaskHeader task={task} />
      <Tabs
        ariaLabel={t('detail.tabs')}
        activeTabId={active}
        onChange={(event) => void navigate(path(event.detail.activeTabId), { replace: true })}
        tabs={tabs.map(([id, Content]) => ({
          id,
          label: words(`detail.tab.${id}` as 'detail.tab.objects'),
          href: path(id),
          content:
            id === active ? (
              <Bounded>
                <Suspense fallback={<Waiting />}>
                  <Content task={task} plugin={plugin} poll={pollOf(task)} />
                </Suspense>
              </Bounded>
            ) : null,
        }))}
      />
    </SpaceBetween>
  );
}

function Waiting() {
  return (
    <Box textAlign="center" padding="xl">
      <Spinner size="large" />
    </Box>
  );
}
