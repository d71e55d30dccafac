// A kind of task that the console has no folder for: all of it comes from the hub's description of its parameters.
import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { configure, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import type { CreateTaskInput, EditTaskInput } from '../api/generated';
import { changeLanguage } from '../i18n';
import type { Parameter } from '../plugins/types';
import { type Answers, renderPage } from '../test/render';
import { CreateTask, EditTask } from './create/CreateTask';
import { ANSWERS, ID, ROUTE, run, task } from './task/testSamples';

configure({ asyncUtilTimeout: 10_000 }); // the design system is slow without a browser

const TYPE = 'Echo' as CreateTaskInput['type'];

const parameter = (name: string, group: string, given: Partial<Parameter> = {}): Parameter => ({
  name,
  label: `Label of ${name}`,
  group,
  help: `Help of ${name}`,
  kind: 'text',
  default: '',
  allowed: [],
  option: '',
  minimum: null,
  maximum: null,
  size: false,
  required: false,
  ...given,
});
const PARAMETERS = [
  parameter('phrase', 'source', { required: true }),
  parameter('times', 'source', { kind: 'number', default: '3', minimum: 1, maximum: 9 }),
  parameter('voice', 'Voices', { kind: 'choice', allowed: ['low', 'high'], default: 'low' }),
  parameter('loud', 'Voices', { kind: 'boolean', default: 'false' }),
  parameter('listeners', 'Voices', { kind: 'list' }),
  parameter('ec2CronExpression', 'schedule', { default: 'cron(0 0 * * ? *)' }),
];

const GOOD = { state: 'OK', checks: [], policies: { source: {}, destination: {} } };
const RESULTS: Record<string, unknown> = { preflight: GOOD, forecast: { echoes: 42 } };

const HUB: Answers = {
  CreateHub: () => ({ hubInfo: { platform: 'local', plugins: [TYPE] } }),
  FormParameters: () => ({ listTaskParameters: PARAMETERS }),
  TaskParameterForm: () => ({ listTaskParameters: PARAMETERS }),
  Preflight: () => ({ job: { id: 'preflight' } }),
  Forecast: () => ({ job: { id: 'forecast' } }),
  JobResult: ({ id }: { id: string }) => ({
    getJob: { id, state: 'DONE', error: '', result: JSON.stringify(RESULTS[id]) },
  }),
  CreateTask: () => ({ createTask: { id: 'made' } }),
  EditTask: () => ({ editTask: { id: 'known' } }),
};

const wizard = () => createWrapper().findWizard()!;
const next = () => wizard().findPrimaryButton().click();
const heading = (name: RegExp) => screen.findByRole('heading', { level: 1, name });

test('the wizard: groups as sections, fields by kind, limits, defaults; the task as the hub takes it', async () => {
  const user = userEvent.setup();
  const { calls, router } = renderPage(
    { path: '/tasks/create', element: <CreateTask /> },
    '/tasks/create',
    HUB,
  );
  await heading(/Kind of task/);
  expect(screen.getByRole('radio', { name: TYPE })).toBeChecked();
  next();
  await heading(/^Parameters/);
  expect(screen.getByRole('heading', { level: 2, name: 'Source' })).toBeVisible(); // a group of every kind of task
  expect(screen.getByRole('heading', { level: 2, name: 'Voices' })).toBeVisible(); // one of its own
  next();
  expect(screen.getAllByText('Required.')).not.toHaveLength(0);
  await user.type(screen.getByRole('textbox', { name: /Label of phrase/ }), 'hello');
  await user.type(screen.getByRole('textbox', { name: /Label of times/ }), '10');
  next();
  expect(screen.getAllByText(/9/)).not.toHaveLength(0);
  await heading(/^Parameters/);
  await user.clear(screen.getByRole('textbox', { name: /Label of times/ }));
  await user.type(screen.getByRole('textbox', { name: /Label of times/ }), '4');
  await user.click(screen.getByRole('checkbox', { name: /Label of loud/ }));
  await user.type(screen.getByRole('textbox', { name: /Label of listeners/ }), 'a{enter}b');
  const select = createWrapper().findSelect('[data-parameter="voice"] *')!;
  select.openDropdown();
  expect(
    select
      .findDropdown()
      .findOptions()
      .map((each) => each.getElement().textContent),
  ).toEqual([expect.stringContaining('low'), 'high']);
  select.selectOptionByValue('high');
  next();
  await heading(/Schedule/);
  expect(screen.getByRole('radio', { name: /Once/ })).toBeChecked();
  expect(screen.queryByRole('radio', { name: /again and again/i })).toBeNull(); // it has no such parameter
  await user.click(screen.getByRole('radio', { name: /cron/ }));
  next();
  await heading(/Review/);
  await screen.findByText('The task has everything that it needs.');
  await user.click(screen.getByRole('button', { name: 'Make a forecast' }));
  await screen.findByText(/"echoes": 42/);
  wizard().findPrimaryButton().click();
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/made'));
  const created = calls.find(({ name }) => name === 'CreateTask')?.variables as { input: CreateTaskInput };
  expect(created.input).toMatchObject({ type: TYPE, scheduleType: 'FIXED_RATE' });
  expect(
    Object.fromEntries(created.input.parameters!.map((each) => [each?.ParameterKey, each?.ParameterValue])),
  ).toEqual({ phrase: 'hello', times: '4', voice: 'high', loud: 'true', listeners: '["a","b"]' });
});

test('a change of a task sends only what changed', async () => {
  const user = userEvent.setup();
  const { calls } = renderPage({ path: '/tasks/:id/edit', element: <EditTask /> }, '/tasks/known/edit', {
    ...HUB,
    FormTask: () => ({
      getTask: {
        id: 'known',
        type: TYPE,
        description: '',
        scheduleType: 'ONE_TIME',
        parameters: [
          { ParameterKey: 'phrase', ParameterValue: 'hello' },
          { ParameterKey: 'listeners', ParameterValue: '["a","b"]' },
        ],
      },
    }),
  });
  await heading(/Kind of task/);
  next();
  await heading(/^Parameters/);
  expect(screen.getByRole('textbox', { name: /Label of listeners/ })).toHaveValue('a\nb');
  await user.type(screen.getByRole('textbox', { name: /Label of phrase/ }), ' there');
  next();
  await heading(/Schedule/);
  next();
  await heading(/Review/);
  await screen.findByText('The task has everything that it needs.');
  wizard().findPrimaryButton().click();
  await waitFor(() => expect(calls.some(({ name }) => name === 'EditTask')).toBe(true));
  const edited = calls.find(({ name }) => name === 'EditTask')?.variables as { input: EditTaskInput };
  expect(edited.input).toEqual({
    parameters: [{ ParameterKey: 'phrase', ParameterValue: 'hello there' }],
  });
});

const open = (tab: string, answers: Answers = {}) =>
  renderPage(ROUTE, `/tasks/${ID}?tab=${tab}`, {
    ...ANSWERS,
    ...HUB,
    TaskDetail: () => ({
      getTask: task({ type: TYPE, parameters: [{ ParameterKey: 'phrase', ParameterValue: 'hello' }] }),
    }),
    ...answers,
  });

test('its page: the tabs of every kind, its counts without those of others, its parameters by group', async () => {
  open('overview', {
    TaskRuns: () => ({ listRuns: [run({ counts: { listed: 2, enqueued: 2, done: 2 } })] }),
  });
  await screen.findByText('The counts balance.');
  expect(screen.queryByText('Archived')).toBeNull();
  expect(screen.queryByText(/verified/)).toBeNull();
  expect(screen.getByRole('tab', { name: 'Objects' })).toBeVisible();
  expect(screen.queryByRole('tab', { name: 'Events' })).toBeNull();
  await userEvent.click(screen.getByRole('tab', { name: 'Details' }));
  await screen.findByText('Label of phrase');
  expect(screen.getByText('hello')).toBeVisible();
  expect(screen.getByText(TYPE, { selector: 'dd *, dd' })).toBeVisible();
  expect(screen.getByRole('heading', { level: 3, name: 'Voices' })).toBeVisible();
});

test('the engine tab shows only limits that the kind has', async () => {
  open('engine', {
    TaskEngine: () => ({ desired: null, messages: null, hubInfo: { platform: 'local' } }),
  });
  await screen.findByText('Workers now');
  await screen.findByText('Engine parameters');
  expect(screen.queryByText('Bandwidth cap')).toBeNull();
});

test('in Chinese as well', async () => {
  await changeLanguage('zh');
  try {
    renderPage({ path: '/tasks/create', element: <CreateTask /> }, '/tasks/create', HUB);
    await heading(/任务类型/);
    next();
    await heading(/^参数/);
    expect(within(document.body).getByText('Label of phrase', { exact: false })).toBeVisible();
  } finally {
    await changeLanguage('en');
  }
});
