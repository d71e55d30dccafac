import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
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
    scheduleTimeZone: null,
    nextRunAt: null,
    createdAt: '2026-01-02T03:04:05.000Z',
    createdBy: 'someone',
    updatedAt: '2026-01-02T03:04:05.000Z',
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

/** The menu of actions for the chosen tasks. */
const actions = () =>
  createWrapper()
    .findAllButtonDropdowns()
    .find((each) => each.getElement().textContent?.includes('Actions'))!;

function show(items: TaskRowFragment[], at = '/tasks', answers: Record<string, () => unknown> = {}) {
  return renderPage({ path: '/tasks', element: <Tasks /> }, at, {
    Tasks: () => ({ listTasksV2: { total: items.length, items } }),
    ...answers,
  });
}

const TYPES = ['S3EC2', 'ECR'];
const run = (id: number, result: 'DONE' | 'INCOMPLETE' | 'FAILED') => ({
  id,
  result,
  endedAt: '2026-01-02T03:04:05.000Z',
  seconds: 90,
});

test('an address round trip keeps the query, and nonsense is left out', () => {
  const address = new URLSearchParams(
    'page=3&text=a%2Cb&statuses=DONE,ERROR&type=ECR&attention=true&orderBy=progress&descending=false',
  );
  expect(writeQuery(readQuery(address, TYPES)).toString()).toBe(address.toString());
  const wild = readQuery(new URLSearchParams('page=-1&statuses=DONE,<b>&type=x&orderBy=drop'), TYPES);
  expect(wild).toMatchObject({ page: 1, statuses: ['DONE'], type: '', attention: false, orderBy: 'created' });
});

test('rows show how far a task is', async () => {
  show([task(1, 'IN_PROGRESS')]);
  const row = (await screen.findByText('task 1')).closest('tr')!;
  expect(within(row).getAllByText('50%')).not.toHaveLength(0);
  expect(within(row).getByText('2 KiB/s, 1 min 1 s left')).toBeInTheDocument();
});

test('a task is named by what people call it, and its name is the link', async () => {
  const way = { source: 'old-minio: photos/2026', destination: 'aws-eu: photos' };
  show([task(1, 'DONE'), task(2, 'DONE', { description: '', ...way })]);
  expect(await screen.findByRole('link', { name: 'task 1' })).toHaveAttribute('href', '/tasks/00000001-aaaa');
  const unnamed = screen.getByRole('rowheader', { name: 'old-minio: photos/2026 → aws-eu: photos' });
  expect(within(unnamed).getByRole('link')).toHaveAttribute('href', '/tasks/00000002-aaaa');
  expect(screen.queryByText('00000002')).toBeNull();
  expect(screen.getByRole('checkbox', { name: /Select task old-minio/ })).toBeInTheDocument();
});

test('how the last runs went is shown in colors and in words', async () => {
  const runs = [run(7, 'DONE'), run(8, 'FAILED'), run(9, 'INCOMPLETE')];
  show([task(1, 'IN_PROGRESS', { phase: 'WAITING', recentRuns: runs, lastRun: runs[2]! })]);
  const strip = await screen.findByRole('list', { name: 'The last 3 runs, oldest first' });
  const bars = within(strip).getAllByRole('listitem');
  expect(bars.map((bar) => bar.className)).toEqual([
    expect.stringContaining('DONE'),
    expect.stringContaining('FAILED'),
    expect.stringContaining('INCOMPLETE'),
  ]);
  expect(bars[1]).toHaveTextContent(/^Run 8: Failed, .*took 1 min 30 s$/);
  const row = strip.closest('tr')!;
  expect(within(row).getByText('Waiting')).toBeInTheDocument();
  expect(within(row).getByText('1 min 30 s')).toBeInTheDocument();
  expect(within(row).queryByText(/left$/)).toBeNull();
});

test('what needs attention is asked of the hub, over all tasks', async () => {
  const { calls, router } = show([task(1, 'DONE')]);
  await userEvent.setup().click(await screen.findByRole('checkbox', { name: 'Needs attention' }));
  await waitFor(() => expect(router.state.location.search).toBe('?attention=true'));
  await waitFor(() => expect(calls.at(-1)?.variables).toMatchObject({ attention: true, page: 1 }));
});

test('a phone has cards, with the status', async () => {
  const roomy = vi
    .spyOn(globalThis, 'matchMedia')
    .mockImplementation(
      (media) => ({ media, matches: false, addEventListener() {}, removeEventListener() {} }) as never,
    );
  show([task(1, 'ERROR')]);
  const card = (await screen.findByRole('link', { name: 'task 1' })).closest('li')!;
  expect(within(card).getByText('Error')).toBeInTheDocument();
  expect(within(card).getByText('s3://from/ → s3://to/')).toBeInTheDocument();
  expect(screen.queryByRole('table')).toBeNull();
  roomy.mockRestore();
});

test('an empty hub says what a task is', async () => {
  show([]);
  expect(await screen.findByText('There are no tasks yet')).toBeInTheDocument();
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
  await user.click(await screen.findByRole('checkbox', { name: /Select task task 1/ }));
  await user.click(screen.getByRole('checkbox', { name: /Select task task 2/ }));
  const menu = actions();
  menu.openDropdown();
  expect(menu.findItemById('pause')!.getElement()).not.toHaveAttribute('aria-disabled', 'true');
  menu.findItemById('pause')!.click();
  await screen.findByText('2 tasks are paused.');
  expect(calls.filter((call) => call.name === 'PauseTask').map((call) => call.variables)).toEqual([
    { id: '00000001-aaaa' },
    { id: '00000002-aaaa' },
  ]);
});

test('an action that is greyed says why', async () => {
  const user = userEvent.setup();
  show([task(1, 'DONE'), task(2, 'IN_PROGRESS'), task(3, 'STOPPING', { isBeingDeleted: true })]);
  await user.click(await screen.findByRole('checkbox', { name: /Select task task 2/ }));
  const menu = actions();
  menu.openDropdown();
  const reason = (id: string) => {
    const item = menu.findItemById(id)!.find('[aria-disabled]') ?? menu.findItemById(id)!;
    return document.getElementById(item.getElement().getAttribute('aria-describedby') ?? '')?.textContent;
  };
  expect(reason('delete')).toBeUndefined();
  expect(reason('retry')).toBe('Nothing has failed.');
  expect(reason('resume')).toBe('Only a task that is paused, stopped or in error can be resumed.');
  await user.click(screen.getByRole('checkbox', { name: /Select task task 1/ }));
  menu.openDropdown();
  expect(reason('edit')).toBe('Select only one task.');
  await user.click(screen.getByRole('checkbox', { name: /Select task task 3/ }));
  menu.openDropdown();
  expect(reason('delete')).toBe('One of these is deleted as soon as it has stopped.');
  expect(screen.getByText('Stopping, then deleted')).toBeInTheDocument();
});

test('what has not ended is stopped and deleted in one step, after a question that says so', async () => {
  const user = userEvent.setup();
  const { calls } = show([task(1, 'IN_PROGRESS'), task(2, 'DONE')], '/tasks', {
    DeleteTask: () => ({ deleteTask: { id: '', progress: 'STOPPING' } }),
  });
  await user.click(await screen.findByRole('checkbox', { name: /Select task task 1/ }));
  await user.click(screen.getByRole('checkbox', { name: /Select task task 2/ }));
  const menu = actions();
  menu.openDropdown();
  menu.findItemById('delete')!.click();
  expect(screen.getByText('Stop and delete 2 tasks?')).toBeInTheDocument();
  expect(screen.getByText(/^Of these, 1 have not ended/)).toBeInTheDocument();
  await user.click(screen.getByRole('button', { name: 'Stop and delete' }));
  await screen.findByText(/^2 tasks are deleted/);
  expect(calls.filter((call) => call.name === 'DeleteTask').map((call) => call.variables)).toEqual([
    { id: '00000001-aaaa', stop: true },
    { id: '00000002-aaaa', stop: false },
  ]);
});

test('stopping asks first', async () => {
  const user = userEvent.setup();
  const { calls } = show([task(1, 'IN_PROGRESS')], '/tasks', {
    StopTask: () => ({ stopTask: { id: '', progress: 'STOPPING' } }),
  });
  await user.click(await screen.findByRole('checkbox', { name: /Select task task 1/ }));
  const menu = actions();
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

test('a view is saved under a name, opened and deleted again', async () => {
  const user = userEvent.setup();
  const { router } = show([task(1, 'DONE')], '/tasks?page=2&statuses=DONE&orderBy=updated');
  await screen.findByText('task 1');
  await user.click(screen.getByRole('button', { name: 'Views' }));
  await user.click(screen.getByRole('menuitem', { name: 'Save this view' }));
  const dialog = within(await screen.findByRole('dialog'));
  await user.click(dialog.getByRole('button', { name: 'Save' }));
  expect(dialog.getByText('Required.')).toBeVisible();
  await user.type(dialog.getByRole('textbox', { name: 'Name' }), ' Done: lately ');
  await user.click(dialog.getByRole('button', { name: 'Save' }));
  expect(await screen.findByRole('button', { name: 'View: Done: lately' })).toBeVisible();

  await router.navigate('/tasks');
  await user.click(await screen.findByRole('button', { name: 'Views' }));
  expect(screen.getByRole('menuitem', { name: 'Save this view' })).toHaveAttribute('aria-disabled', 'true');
  await user.click(screen.getByRole('menuitem', { name: 'Done: lately' }));
  await waitFor(() => expect(router.state.location.search).toBe('?statuses=DONE&orderBy=updated'));

  await user.click(await screen.findByRole('button', { name: 'View: Done: lately' }));
  await user.click(screen.getByRole('menuitem', { name: 'Delete this view' }));
  expect(await screen.findByRole('button', { name: 'Views' })).toBeVisible();
});
