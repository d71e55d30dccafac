import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import { type Answers, renderPage } from '../../test/render';
import { ComparisonDetail } from './ComparisonDetail';
import { Comparisons } from './Comparisons';
import { exportFindings } from './exportFindings';
import { StartComparison } from './StartComparison';

const ID = '0b0a6a8e-0000-4000-8000-000000000001';
const SLOW = { timeout: 10_000 };
const TASK = '0b0a6a8e-0000-4000-8000-000000000002';
const DONE = {
  id: ID,
  task: TASK,
  type: 'S3EC2',
  source: 'old: photos',
  destination: 'new: photos',
  policy: 'etag',
  sample: 100,
  createdBy: 'ann',
  state: 'DONE',
  verdict: 'DIFFERENT',
  startedAt: '2026-11-01T10:00:00Z',
  endedAt: '2026-11-01T10:01:00Z',
  error: '',
  notes: [] as string[],
  filtered: 0,
  counts: [
    { state: 'SAME', objects: 7, bytes: 70 },
    { state: 'MISSING', objects: 2, bytes: 20 },
    { state: 'EXTRA', objects: 1, bytes: 10 },
  ],
};
const item = (key: string, state: string) => ({
  key,
  state,
  size: 10,
  destSize: null,
  etag: 'e',
  reason: '',
});
const ITEMS = [item('a/1', 'MISSING'), item('a/2', 'MISSING'), item('b/=x', 'EXTRA')];

const answers = (comparison: object = {}, more: Answers = {}): Answers => ({
  ComparisonHub: () => ({ hubInfo: { compares: true } }),
  ComparisonDetail: () => ({ getComparison: { ...DONE, ...comparison } }),
  ComparedFolders: ({ path }: { path: string }) => ({
    listComparedFolders: path
      ? []
      : [{ path: 'a/', folders: false, counts: [{ state: 'MISSING', objects: 2, bytes: 20 }] }],
  }),
  Findings: () => ({ listFindings: { nextToken: null, items: ITEMS } }),
  CopyFindings: () => ({ copyFindings: { id: TASK } }),
  ...more,
});
const detail = (comparison: object = {}, role: 'viewer' | 'admin' = 'admin') =>
  renderPage(
    { path: '/comparisons/:comparison', element: <ComparisonDetail /> },
    `/comparisons/${ID}`,
    answers(comparison),
    role,
  );

test('says what it found, and copies what is missing after asking', async () => {
  const { calls } = detail();
  expect(await screen.findAllByText('The sides differ')).not.toHaveLength(0);
  await userEvent.click(await screen.findByRole('button', { name: 'Copy these (2)' }));
  const dialog = screen.getByRole('dialog');
  expect(within(dialog).getByText(/A run of the task copies these objects/)).toBeInTheDocument();
  await userEvent.click(within(dialog).getByRole('button', { name: 'Copy' }));
  expect(await screen.findByText('elsewhere')).toBeInTheDocument();
  expect(calls.findLast((call) => call.name === 'CopyFindings')?.variables).toEqual({
    id: ID,
    states: null,
    prefix: null,
    keys: null,
  });
});

test('copies only the chosen ones', async () => {
  const { calls } = detail();
  await screen.findByText('a/2', {}, SLOW);
  await userEvent.click(screen.getByRole('checkbox', { name: 'Select a/2' }));
  expect(screen.getByRole('checkbox', { name: 'Select b/=x' })).toBeDisabled();
  await userEvent.click(screen.getByRole('button', { name: 'Copy 1 selected object' }));
  await userEvent.click(within(screen.getByRole('dialog')).getByRole('button', { name: 'Copy' }));
  await waitFor(() =>
    expect(calls.findLast((call) => call.name === 'CopyFindings')?.variables).toMatchObject({
      keys: ['a/2'],
    }),
  );
});

test('a folder leads to what is below it', async () => {
  const { calls } = detail();
  await userEvent.click(await screen.findByText('a/', {}, SLOW));
  await waitFor(() =>
    expect(calls.findLast((call) => call.name === 'Findings')?.variables).toMatchObject({ prefix: 'a/' }),
  );
  expect(await screen.findByText('No folders here')).toBeInTheDocument();
  await userEvent.click(screen.getByRole('button', { name: 'One folder up' }));
  expect(await screen.findByText('a/', {}, SLOW)).toBeInTheDocument();
});

test.each([
  ['INTERRUPTED', 'Interrupted', /The others may differ. Compare again/],
  ['CANCELLED', 'Cancelled', /The others may differ/],
  ['FAILED', 'Failed', /it is unknown whether both sides are the same/],
])('what did not finish is never called the same: %s', async (state, title, hint) => {
  detail({
    state,
    verdict: null,
    error: 'the hub ended',
    counts: [{ state: 'SAME', objects: 9, bytes: 9 }],
  });
  expect((await screen.findAllByText(title)).length).toBeGreaterThan(0);
  expect(screen.getByText(hint)).toBeInTheDocument();
  expect(screen.queryByText(/are the same$/)).not.toBeInTheDocument();
  expect(screen.queryByRole('button', { name: 'Certificate' })).not.toBeInTheDocument();
});

test('one that runs can be cancelled', async () => {
  detail({ state: 'RUNNING', verdict: null, endedAt: null });
  expect(await screen.findByRole('button', { name: 'Cancel' })).toBeInTheDocument();
});

test('a viewer only looks', async () => {
  detail({}, 'viewer');
  expect(await screen.findByRole('button', { name: 'Certificate' })).toBeInTheDocument();
  expect(screen.queryByRole('button', { name: /Copy these/ })).not.toBeInTheDocument();
  expect(screen.queryByRole('button', { name: 'Delete' })).not.toBeInTheDocument();
});

test('the list shows how each ended', async () => {
  renderPage({ path: '/comparisons', element: <Comparisons /> }, '/comparisons', {
    ...answers(),
    Comparisons: () => ({
      hubInfo: { compares: true },
      listComparisons: [DONE, { ...DONE, id: TASK, state: 'RUNNING', verdict: null }],
    }),
  });
  expect(await screen.findByText('The sides differ')).toBeInTheDocument();
  expect(screen.getByText('Comparing')).toBeInTheDocument();
});

test('a hub that does not compare says where to do it', async () => {
  renderPage({ path: '/comparisons', element: <Comparisons /> }, '/comparisons', {
    ComparisonHub: () => ({ hubInfo: { compares: false } }),
  });
  expect(await screen.findByText(/Run dth s3 compare/)).toBeInTheDocument();
});

test('the sides of a task are compared as chosen', async () => {
  const { calls } = renderPage(
    { path: '/comparisons/create', element: <StartComparison /> },
    `/comparisons/create?task=${TASK}`,
    answers(
      {},
      {
        ComparisonTask: () => ({
          getTask: { id: TASK, type: 'S3EC2', description: 'Nightly', source: 'a', destination: 'b' },
        }),
        Compare: () => ({ compare: { id: ID } }),
      },
    ),
  );
  expect(await screen.findByText('Nightly')).toBeInTheDocument();
  await userEvent.click(screen.getByRole('radio', { name: /^Content/ }));
  const sample = screen.getByRole('textbox', { name: 'Percentage of objects to read' });
  await userEvent.clear(sample);
  await userEvent.click(screen.getByRole('button', { name: 'Compare' }));
  expect(screen.getByText('Enter a number above 0, at most 100.')).toBeInTheDocument();
  await userEvent.type(sample, '5');
  await userEvent.click(screen.getByRole('button', { name: 'Compare' }));
  expect(await screen.findByText('elsewhere')).toBeInTheDocument();
  expect(calls.findLast((call) => call.name === 'Compare')?.variables).toEqual({
    task: TASK,
    input: null,
    policy: 'content',
    sample: 5,
  });
});

test('a file has every page, and no cell that a spreadsheet runs', async () => {
  const pages = [
    { nextToken: 'next', items: [item('=1+1', 'MISSING'), item('a,"b"', 'EXTRA')] },
    { nextToken: null, items: [item('c', 'MISSING')] },
  ];
  const request = vi.fn(async () => ({ listFindings: pages.shift() }));
  const { content, more } = await exportFindings(
    { request: request as never, send: request as never },
    { id: ID, states: null, prefix: null },
    'csv',
  );
  expect(more).toBe(false);
  expect(content.split('\r\n')).toEqual([
    'key,state,size,destSize,etag,reason',
    "'=1+1,MISSING,10,,e,",
    '"a,""b""",EXTRA,10,,e,',
    'c,MISSING,10,,e,',
    '',
  ]);
});
