import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { act, configure, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, expect, test, vi } from 'vitest';
import { ApiError } from '../../api/client';
import type { Role } from '../../api/generated';
import { renderPage, type Answers } from '../../test/render';
import { ANSWERS, ID, record, ROUTE, run, task } from './testSamples';

const open = (tab: string, answers: Answers = {}, role: Role = 'admin') =>
  renderPage(ROUTE, `/tasks/${ID}?tab=${tab}`, { ...ANSWERS, ...answers }, role);

const pagination = () => createWrapper().findPagination()!; // its labels come with the app
configure({ asyncUtilTimeout: 5_000 }); // a tab's first opening loads its file
afterEach(() => vi.useRealTimers());

test('a task that does not exist: said, with a way back', async () => {
  open('overview', {
    TaskDetail: () => {
      throw new ApiError('there is no task', 'NOT_FOUND');
    },
  });
  expect(await screen.findByRole('heading', { name: 'This task does not exist' })).toBeVisible();
  expect(screen.getByRole('link', { name: 'To the list of tasks' })).toHaveAttribute('href', '/tasks');
});

test('the overview: progress, ledger, rate; no action for a viewer', async () => {
  open('overview', {}, 'viewer');
  expect(await screen.findByRole('heading', { level: 1, name: 'The pictures' })).toBeVisible();
  expect(await screen.findByText('5 of 10 objects, 1 KiB of 2 KiB')).toBeVisible();
  expect(screen.getByText('512 B/s')).toBeVisible();
  expect(await screen.findByText('The counts balance.')).toBeVisible();
  expect(screen.queryByRole('button', { name: 'Pause' })).toBeNull();
  expect(screen.getByRole('button', { name: 'Download task file' })).toBeVisible();
});

test('the next run is in the time of who looks, whatever zone the schedule has', async () => {
  const scheduled = task({
    scheduleType: 'FIXED_RATE',
    schedule: '0 3 * * ? *',
    scheduleTimeZone: 'Asia/Kathmandu',
    nextRunAt: '2026-12-02T21:15:00Z',
  });
  open('overview', { TaskDetail: () => ({ getTask: scheduled }) });
  expect(await screen.findByText('every day at 03:00 Asia/Kathmandu')).toBeVisible();
  expect(screen.getByText(/^Dec 2, 2026, 9:15:00\sPM UTC$/)).toBeVisible();
});

test('a task that ends says so without a reload, and its counts come at once', async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  let done = false;
  const { calls } = open('overview', {
    TaskDetail: () => ({ getTask: task(done ? { progress: 'DONE' } : {}) }),
  });
  await screen.findByText('The counts balance.');
  const before = calls.filter(({ name }) => name === 'TaskRuns').length;
  done = true;
  await act(() => vi.advanceTimersByTimeAsync(2_500));
  expect((await screen.findAllByText('Done, 1 failed')).length).toBeGreaterThan(0);
  expect(calls.filter(({ name }) => name === 'TaskRuns').length).toBeGreaterThan(before);
});

test('a pause says why and what to do', async () => {
  open('overview', {
    TaskDetail: () => ({
      getTask: task({ progress: 'PAUSED', reason: 'credentials: the key is not known' }),
    }),
  });
  expect(await screen.findByText('credentials: the key is not known', { selector: 'strong' })).toBeVisible();
  expect(screen.getByText(/Fix the cause, then resume/)).toBeVisible();
});

test('an error: preflight, edit, retry and a copy of what a helper wants to know', async () => {
  const user = userEvent.setup();
  const report = {
    state: 'FAILED',
    checks: [
      {
        side: 'source',
        name: 'list',
        state: 'FAILED',
        found: '403 AccessDenied',
        todo: 'allow s3:ListBucket',
        statement: {},
      },
    ],
    policies: { source: {}, destination: {} },
  };
  const { calls, router } = open('overview', {
    TaskDetail: () => ({
      getTask: task({
        progress: 'ERROR',
        reason: 'run 1 failed: it could not be listed',
        parameters: [{ ParameterKey: 'srcProxy', ParameterValue: 'http://me:pass@proxy:3128' }],
      }),
    }),
    TaskError: () => ({ getErrorMessage: { errMessage: '', errCode: 'FINDER_ERROR' } }),
    Preflight: () => ({ job: { id: 'job' } }),
    JobResult: () => ({ getJob: { state: 'DONE', error: '', result: JSON.stringify(report) } }),
    RetryFailed: () => ({ retryFailed: { id: ID, progress: 'IN_PROGRESS' } }),
  });
  await user.click(await screen.findByRole('button', { name: 'Run preflight' }));
  expect(await screen.findByText('403 AccessDenied')).toBeVisible();
  expect(calls.find(({ name }) => name === 'Preflight')?.variables).toMatchObject({
    input: { type: 'S3EC2', parameters: [{ ParameterKey: 'srcProxy' }] },
  });
  await user.click(screen.getByRole('button', { name: 'Copy diagnostics' }));
  const copied = await navigator.clipboard.readText();
  expect(copied).toContain(`Task: ${ID} (S3EC2)`);
  expect(copied).toContain('Reason: run 1 failed: it could not be listed\nCode: FINDER_ERROR');
  expect(copied).toContain('srcProxy=http://proxy:3128');
  await user.click(screen.getByRole('button', { name: 'Retry failed' }));
  expect(await screen.findByText('The failed objects are retried.')).toBeVisible();
  await user.click(screen.getByRole('button', { name: 'Edit' }));
  expect(router.state.location.pathname).toBe(`/tasks/${ID}/edit`);
});

test('a viewer of an error can copy it, and is offered nothing else', async () => {
  open(
    'overview',
    {
      TaskDetail: () => ({ getTask: task({ progress: 'ERROR', reason: 'it failed' }) }),
      TaskError: () => ({ getErrorMessage: { errMessage: '', errCode: 'UN_KNOWN' } }),
    },
    'viewer',
  );
  expect(await screen.findByRole('button', { name: 'Copy diagnostics' })).toBeVisible();
  for (const name of ['Run preflight', 'Edit', 'Retry failed', 'Resume'])
    expect(screen.queryByRole('button', { name })).toBeNull();
});

test('what is wrong is acknowledged until a time, and who did so is shown', async () => {
  const user = userEvent.setup();
  const paused = { progress: 'PAUSED', reason: 'the endpoint refuses' } as const;
  const known = { by: 'maria', at: '2026-01-02T03:04:05.000Z', until: null };
  let acknowledged: typeof known | null = null;
  const { calls } = open('overview', {
    TaskDetail: () => ({ getTask: task({ ...paused, acknowledged, needsAttention: !acknowledged }) }),
    AcknowledgeTask: () => {
      acknowledged = known;
      return { acknowledgeTask: { id: ID } };
    },
    WithdrawAcknowledgement: () => ({ withdrawAcknowledgement: { id: ID } }),
  });
  await screen.findByText('the endpoint refuses');
  const menu = createWrapper().findButtonDropdown()!;
  menu.openDropdown();
  menu.findItemById('acknowledge')!.click();
  const form = createWrapper().findModal()!;
  form.findContent().findSelect()!.openDropdown();
  form.findContent().findSelect()!.selectOptionByValue('hour');
  const before = Date.now();
  await user.click(within(form.getElement()).getByRole('button', { name: 'Acknowledge' }));
  expect(await screen.findByText(/^maria acknowledged on .* when something new fails\.$/)).toBeVisible();
  const { until } = calls.find(({ name }) => name === 'AcknowledgeTask')!.variables as { until: string };
  expect(Date.parse(until) - before).toBeGreaterThanOrEqual(3_600_000);
  await user.click(screen.getByRole('button', { name: 'Withdraw' }));
  await waitFor(() => expect(calls.some(({ name }) => name === 'WithdrawAcknowledgement')).toBe(true));
});

const GROUP = {
  reason: 'AccessDenied',
  count: 1200,
  detail: '<b>403</b> on the object',
  keys: ['dir/\u202etxt.exe'],
  more: false,
  advice: 'from the server',
};

test('failures by reason: what to do, and those of one reason tried again', async () => {
  const retried = vi.fn(() => ({ retryFailed: { id: ID, progress: 'STARTING' } }));
  open('overview', {
    TaskFailures: () => ({
      failureGroups: [
        GROUP,
        { ...GROUP, reason: 'Odd', count: 7, more: true, advice: 'Do as the server says.' },
      ],
    }),
    RetryFailed: retried,
  });
  const group = within(await screen.findByRole('region', { name: 'AccessDenied' }));
  expect(group.getByText(/Run a preflight: it shows the policy statement to add/)).toBeVisible();
  expect(group.getByText('<b>403</b> on the object')).toBeVisible();
  expect(group.getByText('\\u{202e}')).toBeVisible();
  expect(group.getByRole('link', { name: 'Show them: AccessDenied' })).toHaveAttribute(
    'href',
    `/tasks/${ID}?tab=objects&status=FAILED&reason=AccessDenied`,
  );
  expect(screen.getByText('Do as the server says.')).toBeVisible();
  expect(group.getByText('(1,200)')).toBeVisible();
  expect(screen.getByText('(7+)')).toBeVisible();
  await userEvent.click(group.getByRole('button', { name: 'Retry these: AccessDenied' }));
  await screen.findByText('They are being retried.');
  expect(retried).toHaveBeenCalledWith({ id: ID, reason: 'AccessDenied' });
});

test('objects: pages by token, filters in the address, the chosen tried again', async () => {
  const asked = vi.fn(({ nextToken }: { nextToken: string | null }) => ({
    listRecords: nextToken
      ? { items: [record({ key: 'c', status: 'DONE', reason: '' })], nextToken: null }
      : { items: [record({ key: 'a\nx' }), record({ key: 'b', status: 'DONE' })], nextToken: 'b' },
  }));
  const retried = vi.fn(() => ({ retryFailed: { id: ID, progress: 'STARTING' } }));
  const { router } = open('objects&status=FAILED&reason=AccessDenied', {
    TaskRecords: asked,
    RetryFailed: retried,
  });
  const table = within(await screen.findByRole('table', { name: 'Objects' }));
  await table.findByText('\\n');
  expect(asked).toHaveBeenLastCalledWith(
    expect.objectContaining({ status: 'FAILED', reason: 'AccessDenied', nextToken: null, limit: 50 }),
  );
  expect(table.getByRole('checkbox', { name: 'Select b' })).toBeDisabled();
  await userEvent.click(table.getByRole('checkbox', { name: 'Select a\\nx' }));
  await userEvent.click(screen.getByRole('button', { name: 'Retry selected (1)' }));
  await waitFor(() => expect(retried).toHaveBeenCalledWith({ id: ID, keys: ['a\nx'] }));

  await userEvent.click(pagination().findNextPageButton().getElement());
  await table.findByText('c');
  expect(asked).toHaveBeenLastCalledWith(expect.objectContaining({ nextToken: 'b' }));
  expect(router.state.location.search).toContain('after=b');
  await userEvent.click(pagination().findPreviousPageButton().getElement());
  await table.findByText('\\n');
  expect(router.state.location.search).not.toContain('after');
});

test('objects: who verified each copy', async () => {
  const verified = { a: 'store', b: 'etag', c: 'source', d: 'content', e: '', f: 'oracle' };
  const items = Object.entries(verified).map(([key, by]) => record({ key, status: 'DONE', verified: by }));
  open('objects', {
    TaskRecords: () => ({ listRecords: { items: [...items, record({ key: 'g' })], nextToken: null } }),
  });
  const table = within(await screen.findByRole('table', { name: 'Objects' }));
  await table.findByText('Store checksum');
  const column = table.getAllByRole('columnheader').findIndex((header) => header.textContent === 'Verified');
  const cells = table
    .getAllByRole('row')
    .slice(1)
    .map((row) => row.children[column]?.textContent);
  expect(cells).toEqual([
    'Store checksum',
    'MD5 ETag',
    'Source checksum',
    'Read back',
    'Not verified',
    'oracle',
    '-',
  ]);
});

test('everything that was given up is redriven', async () => {
  const redriven = vi.fn(() => ({ redriveDeadLetters: { id: ID, progress: 'STARTING' } }));
  open('objects', {
    TaskRecords: () => ({ listRecords: { items: [record()], nextToken: null } }),
    RedriveDeadLetters: redriven,
  });
  await userEvent.click(await screen.findByRole('button', { name: 'Retry all failed' }));
  await waitFor(() => expect(redriven).toHaveBeenCalledWith({ id: ID }));
});

test('a viewer sees objects, and cannot retry them', async () => {
  open('objects', { TaskRecords: () => ({ listRecords: { items: [record()], nextToken: null } }) }, 'viewer');
  await screen.findByText('AccessDenied');
  expect(screen.queryByRole('button', { name: /Retry/ })).toBeNull();
  expect(screen.queryByRole('checkbox')).toBeNull();
});

const graph = (names: string[], data: (number | null)[][]) => ({
  series: names.map((name, index) => ({ name, data: data[index] })),
  xaxis: { categories: [1_767_323_040, 1_767_323_050, 1_767_323_060] },
});

test('monitoring as tables: numbers with their units, gaps left out', async () => {
  const none = graph([], []);
  open('monitoring', {
    TaskGraphs: () => ({
      Network: graph(
        ['BytesReceived', 'BytesSent'],
        [
          [1024, null, 2048],
          [null, null, 5],
        ],
      ),
      Latency: graph(
        ['SourceLatency', 'DestinationLatency'],
        [
          [12.34, null, null],
          [null, null, null],
        ],
      ),
      TransferredFailedObjects: none,
      RunningWaitingJobHistory: none,
      DesiredInServiceInstances: none,
      Errors: none,
    }),
  });
  await userEvent.click(await screen.findByLabelText('Show as tables'));
  const network = await screen.findByRole('table', { name: 'Network' });
  expect(
    within(network)
      .getAllByRole('row')
      .map((row) => row.textContent),
  ).toEqual(['TimeReceivedSent', 'Jan 2, 2026, 3:04:20 AM2 KiB/s5 B/s', 'Jan 2, 2026, 3:04:00 AM1 KiB/s-']);
  expect(
    within(screen.getByRole('table', { name: 'Latency of source and destination' })).getByText('12.3 ms'),
  ).toBeVisible();
});

test('zoom goes to the address', async () => {
  const { router } = open('monitoring&from=1700000000&to=1700002000', { TaskGraphs: () => ({}) });
  await userEvent.click(await screen.findByRole('button', { name: 'Zoom in' }));
  expect(router.state.location.search).toBe('?tab=monitoring&from=1700000500&to=1700001500');
});

const event = (message: string) => ({ timestamp: '1767323045000', message });

test('a log: older events, then its tail followed', async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const user = userEvent.setup({ advanceTimers: vi.advanceTimersByTime });
  const asked = vi.fn(({ nextToken }: { nextToken?: string }) => {
    const answers: Record<
      string,
      { logEvents: object[]; nextForwardToken: string; nextBackwardToken: string }
    > = {
      '': {
        logEvents: [event('INFO begun role="worker"')],
        nextForwardToken: 'f/1',
        nextBackwardToken: 'b/1',
      },
      'b/1': { logEvents: [event('INFO earlier')], nextForwardToken: 'f/0', nextBackwardToken: 'b/0' },
      'b/0': { logEvents: [], nextForwardToken: 'f/0', nextBackwardToken: 'b/0' },
      'f/1': {
        logEvents: [event('ERROR <i>bad</i> code=3')],
        nextForwardToken: 'f/2',
        nextBackwardToken: 'b/1',
      },
      'f/2': { logEvents: [], nextForwardToken: 'f/2', nextBackwardToken: 'b/2' },
    };
    return { getLogEvents: answers[nextToken ?? ''] };
  });
  open('logs&stream=worker-1&search=x', { TaskLogEvents: asked });
  const log = within(await screen.findByRole('log', { name: 'Log lines' }));
  expect(log.getByText(/begun/)).toHaveTextContent('Jan 2, 2026, 3:04:05 AM Info begun role=worker');
  expect(asked).toHaveBeenLastCalledWith(
    expect.objectContaining({ logGroupName: `/dth/tasks/${ID}`, logStreamName: 'worker-1', search: 'x' }),
  );

  await user.click(screen.getByRole('button', { name: 'Load older' }));
  await log.findByText(/earlier/);
  await user.click(screen.getByRole('button', { name: 'Load older' }));
  expect(await screen.findByText('This is the beginning of the log.')).toBeVisible();

  await user.click(screen.getByLabelText('Live tail'));
  for (let times = 0; times < 3; times++) await act(() => vi.advanceTimersByTimeAsync(2_000));
  expect(log.getByText(/<i>bad<\/i>/)).toHaveTextContent('Error <i>bad</i> code=3');
  expect(screen.getByText('3 events loaded')).toBeVisible();
  expect(asked.mock.lastCall?.[0]).toMatchObject({ nextToken: 'f/2' });
});

const someLogs = (answer: (variables: Record<string, unknown>) => object) =>
  vi.fn((asked) => ({ getLogEvents: answer(asked) }));
const line = (logStreamName: string, message: string) => ({ ...event(message), logStreamName });

test('the logs of all processes are one list, searched by process and level', async () => {
  const asked = someLogs(() => ({
    logEvents: [line('finder', 'INFO listed'), line('worker-2', 'ERROR refused')],
    nextForwardToken: 'f/1',
    nextBackwardToken: 'b/1',
  }));
  const { router } = open('logs', { TaskLogEvents: asked });
  const log = within(await screen.findByRole('log', { name: 'Log lines' }));
  expect(log.getByText(/refused/)).toHaveTextContent('worker-2 Error refused');
  expect(asked.mock.lastCall?.[0]).toMatchObject({ logStreamName: null, logStreamNamePrefix: null });

  const [process, level] = createWrapper().findAllSelects();
  process!.openDropdown();
  const options = process!.findDropdown({ expandToViewport: true });
  await screen.findByText('worker-*');
  expect(options.findOptions().map((each) => each.findLabel().getElement().textContent)).toEqual([
    'All processes',
    'worker-*',
    'worker-1',
    'worker-2',
    'finder',
  ]);
  process!.selectOptionByValue('worker-*', { expandToViewport: true });
  level!.openDropdown();
  level!.selectOptionByValue('ERROR');
  expect(router.state.location.search).toBe('?tab=logs&stream=worker-*&level=ERROR');
  await waitFor(() =>
    expect(asked.mock.lastCall?.[0]).toMatchObject({
      logStreamName: null,
      logStreamNamePrefix: 'worker-',
      level: 'ERROR',
    }),
  );
});

test('a search goes on where a part of the logs has nothing', async () => {
  const asked = someLogs(({ nextToken = '' }) =>
    nextToken === 'b/3'
      ? { logEvents: [line('finder', 'found')], nextForwardToken: 'f/0', nextBackwardToken: 'b/2' }
      : {
          logEvents: [],
          nextForwardToken: 'f/9',
          nextBackwardToken: { '': 'b/4', 'b/4': 'b/3' }[String(nextToken)] ?? nextToken,
        },
  );
  open('logs&search=found', { TaskLogEvents: asked });
  expect(await screen.findByRole('log')).toHaveTextContent('finder found');
  await userEvent.click(screen.getByRole('button', { name: 'Load newer' }));
  expect(asked.mock.lastCall?.[0]).toMatchObject({ nextToken: 'f/9' });
  await userEvent.click(screen.getByRole('button', { name: 'Load older' }));
  expect(await screen.findByText('This is the beginning of the log.')).toBeVisible();
});

test('where a platform only reads forward, the way back is by time', async () => {
  const asked = someLogs(({ nextToken }) => ({
    logEvents: nextToken ? [] : [line('worker/i-1', 'one')],
    nextForwardToken: 's/end',
    nextBackwardToken: '',
  }));
  open('logs', { TaskLogEvents: asked });
  expect(await screen.findByText(/Choose a time to see them/)).toBeVisible();
  expect(screen.queryByRole('button', { name: 'Load older' })).toBeNull();
});

test('an error leads to the log lines around it', async () => {
  const at = '2026-01-02T03:04:05.000Z';
  open('overview', {
    TaskDetail: () => ({ getTask: task({ progress: 'ERROR', reason: 'no such bucket' }) }),
    TaskError: () => ({ getErrorMessage: { errCode: 'FINDER_ERROR' } }),
    TaskMarkers: () => ({
      listAudit: { items: [{ id: 1, at, who: 'hub', what: 'failedByHub', detail: '{}', outcome: 'ok' }] },
    }),
  });
  const from = Date.parse(at) - 300_000;
  await waitFor(() =>
    expect(screen.getByRole('link', { name: 'See the log lines around it' })).toHaveAttribute(
      'href',
      `/tasks/${ID}?tab=logs&from=${from}&to=${from + 360_000}&stream=finder*`,
    ),
  );
});

test('events that are not followed: what they are, and how to', async () => {
  open('events');
  expect(await screen.findByText('This task does not use event notifications')).toBeVisible();
  expect(screen.getByRole('button', { name: 'Edit the task' })).toBeVisible();
});

test('the token of the webhook shows only when it is asked for', async () => {
  open('events', {
    TaskDetail: () => ({
      getTask: task({ parameters: [{ ParameterKey: 'srcEvent', ParameterValue: 'Create' }] }),
    }),
    TaskWebhook: () => ({ getWebhook: { url: 'https://hub/events/1', token: 'sesame' } }),
    TaskRuns: () => ({ listRuns: [run({ id: 3, kind: 'events', counts: { enqueued: 2, done: 2 } })] }),
  });
  await screen.findByText('https://hub/events/1');
  expect(screen.queryByText(/sesame/)).toBeNull();
  await userEvent.click(screen.getByRole('button', { name: 'Show the token' }));
  expect(screen.getByText('authorization: Bearer sesame')).toBeVisible();
  expect(screen.getByText(/Of 2 enqueued, 2 are done/)).toBeVisible();
});

test('runs: the certificate of one that is done, the ledger of the chosen one', async () => {
  const asked = vi.fn(() => ({ job: { id: 'certificate' } }));
  URL.createObjectURL = vi.fn(() => 'blob:x');
  URL.revokeObjectURL = vi.fn();
  open('runs', {
    TaskRuns: () => ({
      listRuns: [
        run({ id: 2, state: 'FAILED', error: 'the bucket is gone', counts: {} }),
        run({ counts: { listed: 3, same: 3 }, notes: ['the order was wrong'] }),
      ],
    }),
    TaskCertificate: asked,
    JobResult: () => ({
      getJob: { id: 'certificate', state: 'DONE', error: '', result: '{"certificate":{"format":"x"}}' },
    }),
  });
  expect(await screen.findAllByText('the bucket is gone')).toHaveLength(2); // in its row, and above its ledger
  await userEvent.click(screen.getByRole('radio', { name: 'Select run 1' }));
  expect((await screen.findAllByRole('listitem')).at(-1)).toHaveTextContent('the order was wrong');
  await userEvent.click(screen.getByRole('button', { name: 'Download the certificate of run 1' }));
  await waitFor(() => expect(asked).toHaveBeenCalledWith({ id: ID, run: 1 }));
  expect(screen.queryByRole('button', { name: 'Download the certificate of run 2' })).toBeNull();
});

test('the timeline of the runs has what users did, and not what was refused', async () => {
  const now = Date.now();
  const ago = (minutes: number) => new Date(now - minutes * 60_000).toISOString();
  const entry = (id: number, what: string, outcome: string) => ({
    id,
    at: ago(30),
    who: 'ann',
    what,
    outcome,
    detail: '{"reason":"the budget is reached"}',
  });
  open('runs', {
    TaskRuns: () => ({
      listRuns: [
        run({ id: 2, state: 'TRANSFERRING', startedAt: ago(20), endedAt: null }),
        run({ id: 1, startedAt: ago(60), endedAt: ago(40) }),
      ],
    }),
    TaskMarkers: () => ({
      listAudit: {
        items: [
          entry(1, 'pauseTask', 'ok x'),
          entry(2, 'editTask', 'FORBIDDEN'),
          entry(3, 'pausedByHub', 'ok'),
        ],
      },
    }),
  });
  const bars = await screen.findByRole('list', { name: 'Runs on the timeline' });
  expect(
    within(bars)
      .getAllByRole('listitem')
      .map((bar) => bar.title.slice(0, 6)),
  ).toEqual(['Run 1,', 'Run 2,']);
  const markers = await screen.findByRole('list', { name: 'What users and the hub did' });
  const [byUser, byHub] = within(markers).getAllByRole('listitem');
  expect(byUser).toHaveTextContent('❚❚Pause task by ann');
  expect(byHub).toHaveTextContent(/❚❚Paused by the hub, .*: the budget is reached$/);
  await userEvent.click(screen.getByRole('button', { name: 'All' }));
  expect(within(bars).getAllByRole('listitem')[0]?.style.left).toBe('0%');
});
