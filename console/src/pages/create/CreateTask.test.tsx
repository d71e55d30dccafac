import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { configure, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { ApiError } from '../../api/client';
import type { CreateTaskInput, EditTaskInput } from '../../api/generated';
import PARAMETERS from '../../plugins/s3/parameters.test-data.json';
import { renderPage } from '../../test/render';
import { CreateTask, EditTask } from './CreateTask';

configure({ asyncUtilTimeout: 10_000 }); // the design system is slow without a browser

const known = {
  srcBucket: 'photos',
  srcCredentials: 'keys',
  srcPrefix: '2026/',
  destBucket: 'copies',
  destCredentials: 'keys',
  comparePolicy: 'size',
};
const good = { state: 'OK', checks: [], policies: { source: {}, destination: {} } };
const bad = {
  state: 'FAILED',
  checks: [
    { side: 'source', name: 'ListBucket', state: 'OK', found: 'can be listed', todo: '', statement: {} },
    {
      side: 'destination',
      name: 'PutObject',
      state: 'FAILED',
      found: 'not allowed: s3:PutObject',
      todo: 'add the statement',
      statement: { Effect: 'Allow', Action: ['s3:PutObject'], Resource: 'arn:aws:s3:::copies/*' },
    },
  ],
  policies: { source: {}, destination: { Statement: [{}] } },
};

const job = (kind: string) => () => ({ job: { id: kind } });

/** The page on a hub whose jobs are done at once. `results` by the kind of job. */
function show(at: string, results: Record<string, unknown> = {}, more: Record<string, () => unknown> = {}) {
  const jobs: Record<string, unknown> = { preflight: good, ...results };
  const page = {
    path: at.startsWith('/tasks/create') ? '/tasks/create' : '/tasks/:id/edit',
    element: at.startsWith('/tasks/create') ? <CreateTask /> : <EditTask />,
  };
  return renderPage(page, at, {
    CreateHub: () => ({ hubInfo: { platform: 'local', plugins: ['S3EC2'] } }),
    FormParameters: () => ({ listTaskParameters: PARAMETERS }),
    FormTask: () => ({
      getTask: {
        id: 'known',
        type: 'S3EC2',
        description: 'Photos',
        scheduleType: 'ONE_TIME',
        parameters: Object.entries(known).map(([ParameterKey, ParameterValue]) => ({
          ParameterKey,
          ParameterValue,
        })),
      },
    }),
    AdminSecrets: () => ({ listSecrets: [{ name: 'keys', description: '', updatedAt: null, hosts: [] }] }),
    Preflight: job('preflight'),
    Forecast: job('forecast'),
    TestConnection: job('test'),
    JobResult: ({ id }: { id: string }) => ({
      getJob: { id, state: 'DONE', error: '', result: JSON.stringify(jobs[id]) },
    }),
    CreateTask: () => ({ createTask: { id: 'made' } }),
    EditTask: () => ({ editTask: { id: 'known' } }),
    ...more,
  });
}

const wizard = () => createWrapper().findWizard()!;
const next = () => wizard().findPrimaryButton().click();
const heading = (name: string) => screen.findByRole('heading', { level: 1, name: new RegExp(name) });
/** From the first step of a form that is filled to its last. */
async function toReview() {
  for (const title of ['Kind of task', 'Source', 'Destination', 'Comparison', 'Schedule']) {
    await heading(title);
    next();
  }
  await heading('Review');
}
const variables = <T,>(calls: { name: string; variables: unknown }[], name: string) =>
  calls.filter((call) => call.name === name).map((call) => call.variables as T);

test('a step is left only when nothing in it is wrong', async () => {
  const user = userEvent.setup();
  show('/tasks/create');
  await heading('Kind of task');
  next();
  await heading('Source');
  expect(screen.queryByText('Required.')).toBeNull();
  next();
  expect(screen.getAllByText('Required.')).toHaveLength(2); // bucket and secret
  await user.type(screen.getByRole('textbox', { name: /Source bucket/ }), 'no/bucket');
  expect(screen.getAllByText(/no spaces and no slashes/)).not.toHaveLength(0); // a live region says it again
  expect(screen.getByRole('heading', { level: 1, name: 'Source' })).toBeInTheDocument();
});

test('a clone begins with what the other task has, and is a task of its own', async () => {
  const { calls, router } = show('/tasks/create?clone=known');
  await toReview();
  expect(screen.getByText('size', { exact: false, selector: 'span' })).toBeInTheDocument();
  await screen.findByText('The task has everything that it needs.');
  wizard().findPrimaryButton().click();
  wizard().findPrimaryButton().click(); // twice: one task
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/made'));
  const [{ input }, ...others] = variables<{ input: CreateTaskInput }>(calls, 'CreateTask') as [
    { input: CreateTaskInput },
  ];
  expect(others).toEqual([]);
  expect(input).toMatchObject({ type: 'S3EC2', description: 'Photos', scheduleType: 'ONE_TIME' });
  expect(input.id).toMatch(/^[\da-f-]{36}$/);
  expect(
    Object.fromEntries(input.parameters!.map((each) => [each?.ParameterKey, each?.ParameterValue])),
  ).toEqual(known);
  expect(screen.getByText('The task is created and starts.')).toBeInTheDocument();
  expect(Object.keys(sessionStorage)).toEqual([]);
});

test('a failed preflight shows what to add, and asks before creating', async () => {
  const user = userEvent.setup();
  const { calls, router } = show('/tasks/create?clone=known', { preflight: bad });
  await toReview();
  expect(await screen.findByText(/not allowed: s3:PutObject/)).toBeInTheDocument();
  expect(screen.getByText(/"Resource": "arn:aws:s3:::copies\/\*"/)).toBeInTheDocument();
  wizard().findPrimaryButton().click();
  await screen.findByText('Some checks failed');
  expect(variables(calls, 'CreateTask')).toEqual([]);
  await user.click(screen.getByRole('button', { name: 'Create anyway' }));
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/made'));
});

test('an edit sends what was changed, and returns to the task', async () => {
  const user = userEvent.setup();
  const { calls, router } = show('/tasks/known/edit');
  await heading('Kind of task');
  next();
  await heading('Source');
  expect(screen.getByRole('textbox', { name: /Source bucket/ })).toHaveAttribute('readonly');
  next();
  await heading('Destination');
  next();
  await heading('Comparison');
  await user.type(screen.getByRole('textbox', { name: /Most workers/ }), '3');
  next();
  await heading('Schedule');
  next();
  await heading('Review');
  wizard().findPrimaryButton().click();
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/known'));
  expect(variables<{ id: string; input: EditTaskInput }>(calls, 'EditTask')).toEqual([
    { id: 'known', input: { parameters: [{ ParameterKey: 'maxCapacity', ParameterValue: '3' }] } },
  ]);
});

test('a time zone is offered, and what the clock shows there is said', async () => {
  const user = userEvent.setup();
  const { calls, router } = show('/tasks/known/edit');
  for (const title of ['Kind of task', 'Source', 'Destination', 'Comparison']) {
    await heading(title);
    next();
  }
  await heading('Schedule');
  expect(screen.getByText('Your browser is in UTC. Empty: UTC.')).toBeInTheDocument();
  await user.click(screen.getByRole('radio', { name: /On a cron schedule/ }));
  expect(screen.getByText(/year, by the clock of UTC/)).toBeInTheDocument();
  const cron = screen.getByRole('textbox', { name: /Cron expression/ });
  await user.clear(cron);
  await user.type(cron, '0 3 * * ? *');
  const zone = screen.getByRole('combobox', { name: /Time zone/ });
  await user.click(zone);
  expect(screen.getByText('Of your browser')).toBeInTheDocument();
  await user.type(zone, 'Asia/Kathmand');
  next();
  expect(screen.getAllByText(/Enter the name of a time zone/)).not.toHaveLength(0);
  await user.type(zone, 'u');
  expect(screen.getByText(/year, by the clock of Asia\/Kathmandu/)).toBeInTheDocument();
  // 03:00 there, as the browser's clock has it.
  expect(screen.getByText(/^Next: .*9:15:00\sPM UTC/)).toBeInTheDocument();
  next();
  await heading('Review');
  wizard().findPrimaryButton().click();
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/known'));
  expect(variables<{ id: string; input: EditTaskInput }>(calls, 'EditTask')).toEqual([
    {
      id: 'known',
      input: {
        scheduleType: 'FIXED_RATE',
        parameters: [
          { ParameterKey: 'ec2CronExpression', ParameterValue: '0 3 * * ? *' },
          { ParameterKey: 'scheduleTimeZone', ParameterValue: 'Asia/Kathmandu' },
        ],
      },
    },
  ]);
});

test('what the hub objects to stands at its field, and one can go there', async () => {
  const user = userEvent.setup();
  show(
    '/tasks/create?clone=known',
    {},
    {
      CreateTask() {
        throw new ApiError('destBucket: task 7 writes s3://copies/ in the same store', 'CONFLICT');
      },
    },
  );
  await toReview();
  wizard().findPrimaryButton().click();
  await user.click(await screen.findByRole('button', { name: 'Go to: Destination' }));
  await heading('Destination');
  expect(screen.getByText('task 7 writes s3://copies/ in the same store')).toBeInTheDocument();
  await user.type(screen.getByRole('textbox', { name: /Destination bucket/ }), '-2');
  expect(screen.queryByText(/task 7 writes/)).toBeNull();
});

test('a connection is tried with what is typed, and the result goes when that changes', async () => {
  const user = userEvent.setup();
  const { calls } = show('/tasks/create?clone=known', {
    test: {
      ok: false,
      message: "There is no bucket 'photos' at s3.amazonaws.com.",
      advice: 'Correct srcBucket.',
      detail: '<b>NoSuchBucket</b>',
      endpoint: 'https://s3.amazonaws.com',
      region: 'us-east-1',
      milliseconds: 21,
      sample: [],
    },
  });
  await heading('Kind of task');
  next();
  await heading('Source');
  await user.click(screen.getByRole('button', { name: 'Test the connection' }));
  expect(await screen.findByText('Correct srcBucket.')).toBeInTheDocument();
  expect(screen.getByText('<b>NoSuchBucket</b>')).toBeInTheDocument();
  expect(variables(calls, 'TestConnection')).toMatchObject([{ side: 'SOURCE' }]);
  await user.type(screen.getByRole('textbox', { name: /Source bucket/ }), '-2');
  expect(screen.queryByText('Correct srcBucket.')).toBeNull();
});

test('a forecast shows its bands and its notes', async () => {
  const user = userEvent.setup();
  const none = { value: 0, low: 0, high: 0 };
  show('/tasks/create?clone=known', {
    forecast: {
      sampled: true,
      objects: { value: 2_000_000, low: 1_900_000, high: 2_100_000 },
      same: none,
      filtered: none,
      archived: none,
      refused: none,
      deletes: none,
      copies: { value: 1000, low: 900, high: 1100 },
      copy_bytes: { value: 2048, low: 2048, high: 2048 },
      requests: { GET: { value: 1000, low: 900, high: 1100 }, DELETE: none },
      seconds: null,
      cost: { requests: none, storage_class: none, transfer: none, total: { value: 1.5, low: 1, high: 2 } },
      compared: 100_000,
      notes: ['sampled: <i>few</i>'],
      prices: 'list prices',
    },
  });
  await toReview();
  await user.click(screen.getByRole('button', { name: 'Make a forecast' }));
  expect(await screen.findByText('This is an estimate: 100,000 objects were compared.')).toBeInTheDocument();
  expect(screen.getAllByText('1,000 (900 to 1,100)')).toHaveLength(2); // copies, requests
  expect(screen.getByText('$1.50 ($1.00 to $2.00)')).toBeInTheDocument();
  expect(screen.getByText('sampled: <i>few</i>')).toBeInTheDocument();
  expect(screen.queryByText(/DELETE/)).toBeNull();
});

test('leaving asks where something would be lost, and a reload loses nothing', async () => {
  const user = userEvent.setup();
  const first = show('/tasks/create');
  await heading('Kind of task');
  await user.type(screen.getByRole('textbox', { name: /Description/ }), 'typed');
  first.unmount();
  const { router } = show('/tasks/create');
  await heading('Kind of task');
  expect(screen.getByRole('textbox', { name: /Description/ })).toHaveValue('typed');
  wizard().findCancelButton().click();
  const dialog = await screen.findByRole('dialog');
  expect(within(dialog).getByText('Leave this page?')).toBeInTheDocument();
  expect(router.state.location.pathname).toBe('/tasks/create');
  await user.click(within(dialog).getByRole('button', { name: 'Leave' }));
  await screen.findByText('elsewhere');
  expect(Object.keys(sessionStorage)).toEqual([]);
});

test('a password in a proxy is not kept in the browser', async () => {
  const user = userEvent.setup();
  show('/tasks/create');
  await heading('Kind of task');
  next();
  await heading('Source');
  await user.type(document.querySelector('[data-parameter=srcProxy] input')!, 'http://me:hidden@proxy');
  await user.type(screen.getByRole('textbox', { name: /Source bucket/ }), 'seen');
  const kept = JSON.stringify({ ...sessionStorage });
  expect(kept).toContain('seen');
  expect(kept).not.toContain('hidden');
});

test('an edit that was begun earlier does not undo what others changed since', async () => {
  const user = userEvent.setup();
  const first = show('/tasks/known/edit');
  await heading('Kind of task');
  await user.type(screen.getByRole('textbox', { name: /Description/ }), ' of 2026');
  first.unmount(); // reloaded, and meanwhile somebody capped it
  const { calls } = show(
    '/tasks/known/edit',
    {},
    {
      FormTask: () => ({
        getTask: {
          id: 'known',
          type: 'S3EC2',
          description: 'Photos',
          scheduleType: 'ONE_TIME',
          parameters: Object.entries({ ...known, maxBytesPerSecond: '9M' }).map(
            ([ParameterKey, ParameterValue]) => ({
              ParameterKey,
              ParameterValue,
            }),
          ),
        },
      }),
    },
  );
  await heading('Kind of task');
  expect(screen.getByRole('textbox', { name: /Description/ })).toHaveValue('Photos of 2026');
  await toReview();
  next();
  await waitFor(() =>
    expect(variables(calls, 'EditTask')).toEqual([
      { id: 'known', input: { description: 'Photos of 2026', parameters: [] } },
    ]),
  );
});

test('a draft that cannot be read is not a draft', async () => {
  sessionStorage.setItem('dth.draft.tester.new.S3EC2', '{bad');
  show('/tasks/create');
  await heading('Kind of task');
});
