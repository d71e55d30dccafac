import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import type { TaskProgress, TaskRowFragment } from '../../api/generated';
import { renderPage } from '../../test/render';
import { readQuery, writeQuery } from './query';
import { Tasks } from './Tasks';

function task(n: number, progress: TaskProgress, more: Partial<TaskRowFragment> = {}): TaskRowFragment {
  return {
    id: `0000000${n}-aaaa`,
    description: `task ${n}`,
    type: 'S3EC2',
    progress,
    reason: '',
    source: 's3://from/',
    destination: 's3://to/',
    scheduleType: 'ONE_TIME',
    schedule: 'once',
    nextRunAt: null,
    createdAt: '2026-01-02T03:04:05.000Z',
    createdBy: 'someone',
    updatedAt: '2026-01-02T03:04:05.000Z',
    stoppedAt: null,
    spent: 0,
    phase: 'COPYING',
    waitsFor: '',
    lastRun: null,
    progressInfo: {
      objects: 200,
      doneObjects: 100,
      percent: 50,
      failed: 0,
      run: 1,
      listing: false,
      totalBytes: 2000,
      doneBytes: 1000,
      rate: 2048,
      eta: 61,
      workers: 1,
      waiting: 3,
      state: 'COPYING',
      note: null,
    },
    ...more,
  };
}

function show(items: TaskRowFragment[], at = '/tasks', answers: Record<string, () => unknown> = {}) {
  return renderPage({ path: '/tasks', element: <Tasks /> }, at, {
    Tasks: () => ({ listTasksV2: { total: items.length, items } }),
    ...answers,
  });
}

const TYPES = ['S3EC2', 'ECR'];

test('an address round trip keeps the query, and nonsense is left out', () => {
  const address = new URLSearchParams(
    'page=3&text=a%2Cb&statuses=DONE,ERROR&type=ECR&orderBy=progress&descending=false',
  );
  expect(writeQuery(readQuery(address, TYPES)).toString()).toBe(address.toString());
  const wild = readQuery(new URLSearchParams('page=-1&statuses=DONE,<b>&type=x&orderBy=drop'), TYPES);
  expect(wild).toMatchObject({ page: 1, statuses: ['DONE'], type: '', orderBy: 'created' });
});

test('rows show how far a task is', async () => {
  show([task(1, 'IN_PROGRESS')]);
  const row = (await screen.findByText('task 1')).closest('tr')!;
  expect(within(row).getAllByText('50%')).not.toHaveLength(0);
  expect(within(row).getByText('2 KiB/s')).toBeInTheDocument();
  expect(within(row).getByText('1 min 1 s')).toBeInTheDocument();
});

test('an empty hub says what a task is', async () => {
  show([]);
  expect(await screen.findByText('There is no task yet')).toBeInTheDocument();
});

test('a search that finds nothing says so', async () => {
  show([], '/tasks?text=zzz');
  expect(await screen.findByText('Nothing matches')).toBeInTheDocument();
});

test('an action on several tasks is offered where all can do it, and told once', async () => {
  const user = userEvent.setup();
  const { calls } = show([task(1, 'IN_PROGRESS'), task(2, 'IN_PROGRESS'), task(3, 'DONE')], '/tasks', {
    PauseTask: () => ({ pauseTask: { id: '', progress: 'PAUSED' } }),
  });
  await user.click(await screen.findByRole('checkbox', { name: /Choose task task 1/ }));
  await user.click(screen.getByRole('checkbox', { name: /Choose task task 2/ }));
  const menu = createWrapper().findAllButtonDropdowns().at(-1)!;
  menu.openDropdown();
  expect(menu.findItemById('pause')!.getElement()).not.toHaveAttribute('aria-disabled', 'true');
  menu.findItemById('pause')!.click();
  await screen.findByText('2 tasks are paused.');
  expect(calls.filter((call) => call.name === 'PauseTask').map((call) => call.variables)).toEqual([
    { id: '00000001-aaaa' },
    { id: '00000002-aaaa' },
  ]);
});

test('stopping asks first', async () => {
  const user = userEvent.setup();
  const { calls } = show([task(1, 'IN_PROGRESS')], '/tasks', {
    StopTask: () => ({ stopTask: { id: '', progress: 'STOPPING' } }),
  });
  await user.click(await screen.findByRole('checkbox', { name: /Choose task task 1/ }));
  const menu = createWrapper().findAllButtonDropdowns().at(-1)!;
  menu.openDropdown();
  menu.findItemById('stop')!.click();
  expect(screen.getByText('Stop this task?')).toBeInTheDocument();
  expect(calls.some((call) => call.name === 'StopTask')).toBe(false);
  await user.click(screen.getByRole('button', { name: 'Stop' }));
  await waitFor(() => expect(calls.some((call) => call.name === 'StopTask')).toBe(true));
});

test('a page beyond the last one leads to the last one', async () => {
  const { router } = show([task(1, 'DONE')], '/tasks?page=999');
  await waitFor(() => expect(router.state.location.search).toBe(''));
  expect(await screen.findByText('task 1')).toBeInTheDocument();
});
