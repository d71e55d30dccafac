import { act, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, test, vi } from 'vitest';
import type { HomeQuery } from '../api/generated';
import { type Answers, renderPage } from '../test/render';
import { Home } from './Home';
import type { Task } from './home/activity';

const NOTHING = { bytes: 0, objects: 0, failed: 0 };
const EMPTY: HomeQuery = {
  hubInfo: { tasks: '{"DONE": 0, "ERROR": 0}' },
  listSecrets: [],
  day: { ...NOTHING, rate: 0, active: 0, waiting: 0, workers: 0, points: [] },
  today: NOTHING,
  attention: { total: 0, items: [] },
  recent: { total: 0, items: [] },
};

function task(id: string, changes: Partial<Task> = {}): Task {
  const info = { objects: 10, doneObjects: 5, percent: 50, failed: 0, run: 1, listing: false };
  return {
    id,
    description: id,
    type: 'S3EC2',
    progress: 'IN_PROGRESS',
    reason: '',
    source: 's3://a',
    destination: 's3://b',
    scheduleType: 'ONE_TIME',
    schedule: 'once',
    scheduleTimeZone: null,
    nextRunAt: null,
    createdAt: '2026-11-24T10:00:00Z',
    createdBy: 'tester',
    updatedAt: '2026-11-24T11:00:00Z',
    stoppedAt: null,
    spent: 0,
    phase: 'COPYING',
    waitsFor: '',
    isBeingDeleted: false,
    needsAttention: false,
    acknowledged: null,
    lastRun: null,
    recentRuns: [],
    progressInfo: {
      ...info,
      totalBytes: 100,
      doneBytes: 50,
      rate: 7,
      eta: 7,
      workers: 1,
      waiting: 2,
      state: 'COPYING',
      note: null,
    },
    ...changes,
  };
}
const withFailed = (id: string, failed: number, changes: Partial<Task> = {}) => {
  const usual = task(id);
  return { ...usual, ...changes, progressInfo: { ...usual.progressInfo!, failed } };
};

const BUSY: HomeQuery = {
  hubInfo: { tasks: '{"IN_PROGRESS": 2, "PAUSED": 1, "DONE": 4, "ERROR": 0}' },
  listSecrets: [{ name: 'store' }],
  day: {
    rate: 2_097_152,
    active: 2,
    waiting: 12,
    workers: 3,
    bytes: 3_145_728,
    objects: 30,
    failed: 2,
    points: [
      { at: 3600 * 100, bytes: 1_048_576, objects: 10, failed: 0 },
      { at: 3600 * 101, bytes: 2_097_152, objects: 20, failed: 2 },
    ],
  },
  today: { bytes: 2_097_152, objects: 20, failed: 2 },
  attention: {
    total: 9,
    items: [
      task('nightly', { progress: 'PAUSED', reason: 'the bucket <b>is</b> missing' }),
      withFailed('photos', 2, { progress: 'DONE' }),
      task('films', { lastRun: { id: 3, result: 'FAILED', endedAt: '2026-11-24T10:00:00Z', seconds: 5 } }),
    ],
  },
  recent: { total: 2, items: [withFailed('photos', 2, { progress: 'DONE' }), task('videos')] },
};
const audit = () => ({
  listAudit: {
    total: 1,
    items: [
      {
        id: 1,
        at: '2026-11-24T10:00:00Z',
        who: 'maria',
        via: 'oidc',
        what: 'pauseTask',
        target: 'nightly',
        detail: '{}',
        outcome: 'ok',
      },
    ],
  },
});

const MEGABYTE = 1_048_576;
const rates = {
  getMetricHistoryData: { series: [{ name: 'BytesSent', data: [null, MEGABYTE, 3 * MEGABYTE] }] },
};

const render = (home: HomeQuery, role: 'viewer' | 'operator' | 'admin' = 'admin', more: Answers = {}) =>
  renderPage(
    { path: '/', element: <Home /> },
    '/',
    { Home: () => home, AdminAudit: audit, TaskRate: () => rates, ...more },
    role,
  );

test('a hub without a task teaches the way to the first one', async () => {
  const { router } = render(EMPTY);
  expect(await screen.findByRole('heading', { name: '1. Store credentials' })).toBeVisible();
  expect(screen.getByRole('heading', { name: '2. Create a task' })).toBeVisible();
  expect(screen.getByRole('heading', { name: '3. Watch it' })).toBeVisible();
  expect(screen.getByText(`dth login --hub ${location.origin}`)).toBeVisible();
  expect(screen.queryByText('Needs attention')).toBeNull();
  await userEvent.click(screen.getAllByRole('button', { name: 'Store a secret' })[0]!);
  expect(router.state.location.pathname).toBe('/secrets');
});

test('a secret that is stored counts as the first step', async () => {
  render({ ...EMPTY, listSecrets: [{ name: 'store' }] });
  await screen.findByRole('heading', { name: '1. Store credentials' });
  expect(screen.getByText('Done')).toBeVisible();
});

test('a viewer is taught without being offered what only operators may do', async () => {
  render(EMPTY, 'viewer');
  expect(await screen.findByText(/Your role can watch/)).toBeVisible();
  expect(screen.queryByRole('button', { name: /Store a secret|Create a task|Create task/ })).toBeNull();
  expect(screen.queryByText(/dth task create/)).toBeNull();
});

test('a hub with tasks shows what it does and did', async () => {
  const { router, calls } = render(BUSY);
  expect(await screen.findByText('2 MiB/s')).toBeVisible();
  const link = screen.getByRole('link', { name: '1 task: Paused' });
  expect(link).toHaveAttribute('href', '/tasks?statuses=PAUSED');
  expect(screen.queryByRole('link', { name: /Error/ })).toBeNull();
  expect(screen.getByText(/^3 MiB in 30 objects\. The busiest hour began at/)).toBeVisible();

  const recent = within(screen.getByRole('table', { name: 'Recent activity' }));
  expect(recent.getByRole('link', { name: 'videos' })).toHaveAttribute('href', '/tasks/videos');
  // Only what is busy has a line.
  expect(await recent.findByRole('img', { name: 'Rate of the last hour: 1 MiB/s to 3 MiB/s' })).toBeVisible();
  expect(calls.flatMap(({ name, variables }) => (name === 'TaskRate' ? [variables] : []))).toEqual([
    { id: 'videos', period: 120 },
  ]);
  const changes = within(screen.getByRole('table', { name: 'Recent changes' }));
  expect(await changes.findByText('Pause task')).toBeVisible();

  const { today } = calls.find((call) => call.name === 'Home')!.variables as { today: string };
  expect(new Date(today).getHours()).toBe(0);
  await userEvent.click(link);
  expect(router.state.location.search).toBe('?statuses=PAUSED');
});

test('what needs attention says why, and can be helped from here', async () => {
  const { calls } = render(BUSY, 'operator', {
    ResumeTask: () => ({ resumeTask: { id: 'nightly', progress: 'IN_PROGRESS' } }),
  });
  const table = within(await screen.findByRole('table', { name: 'Needs attention' }));
  expect(table.getByText('the bucket <b>is</b> missing')).toBeVisible();
  expect(table.getByText('2 objects failed')).toBeVisible();
  expect(table.getByText('Last run: Failed')).toBeVisible();
  expect(table.getByRole('button', { name: 'Retry failed: photos' })).toBeVisible();
  expect(screen.getByRole('link', { name: 'All tasks that need attention (9)' })).toHaveAttribute(
    'href',
    '/tasks?attention=true&orderBy=updated',
  );
  await userEvent.click(table.getByRole('button', { name: 'Resume: nightly' }));
  expect(calls).toContainEqual({ name: 'ResumeTask', variables: { id: 'nightly' } });
  expect(calls.some((call) => call.name === 'AdminAudit')).toBe(false);
});

test('an hour begins when the hub says', async () => {
  const at = Date.UTC(2026, 0, 2, 7, 50) / 1000;
  const points = [{ at, bytes: 5, objects: 1, failed: 0 }];
  const recent = { total: 1, items: [task('a')] };
  render({ ...EMPTY, recent, hubInfo: { tasks: '{"DONE":1}' }, day: { ...EMPTY.day, points } });
  expect(await screen.findByText(/The busiest hour began at \d+:50/)).toBeInTheDocument();
});

afterEach(() => vi.useRealTimers());

test('a hub that does nothing is asked at most 15 times a minute', async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const idle = { ...BUSY, day: { ...BUSY.day, active: 0 }, recent: { total: 0, items: [] } };
  const { calls } = renderPage({ path: '/', element: <Home /> }, '/', {
    Home: () => idle,
    AdminAudit: () => ({ listAudit: { total: 0, items: [] } }),
  });
  await screen.findByRole('heading', { level: 1 });
  const before = calls.length;
  await act(() => vi.advanceTimersByTimeAsync(60_000));
  expect(calls.length - before).toBeLessThanOrEqual(15);
});
