import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { renderPage } from '../../test/render';
import type { Api } from '../../api/client';
import { Audit } from './Audit';
import { pretty, taskOf } from './auditWords';
import { exportAudit } from './exportAudit';

const ID = '0f8fad5b-d9cb-469f-a165-70867728950e';
const entry = {
  id: 1,
  at: '2026-11-24T10:00:00Z',
  who: 'maria',
  via: 'token',
  what: 'pauseTask',
  target: ID,
  detail: `{"id": "${ID}"}`,
  outcome: 'ok',
};

function render(at = '/audit') {
  return renderPage({ path: '/audit', element: <Audit /> }, at, {
    AdminAudit: (variables: { page: number; who: string }) => ({
      listAudit: {
        total: variables.who ? 1 : 120,
        items: [
          { ...entry, id: variables.page * 10, who: `maria${variables.page}` },
          { ...entry, id: variables.page * 10 + 1, what: 'inventNew', target: '', outcome: 'BAD_INPUT' },
        ],
      },
    }),
  });
}
const asked = (calls: { name: string; variables: unknown }[]) => calls.at(-1)?.variables;

test('pages are the hub’s, and stand in the address', async () => {
  const { calls, router } = render();
  await screen.findByText('maria1');
  expect(asked(calls)).toEqual({ who: '', target: '', page: 1, count: 50 });
  await userEvent.click(screen.getAllByRole('button', { name: '3' })[0]!);
  expect(await screen.findByText('maria3')).toBeVisible();
  expect(router.state.location.search).toBe('?page=3');
  expect(asked(calls)).toEqual({ who: '', target: '', page: 3, count: 50 });
});

test('an entry is told in words, and its task can be opened', async () => {
  render();
  expect(await screen.findByText('Pause task')).toBeVisible();
  expect(screen.getByRole('link', { name: ID })).toHaveAttribute('href', `/tasks/${ID}`);
  expect(screen.getByText('inventNew')).toBeVisible();
  expect(screen.getByText('BAD_INPUT')).toBeVisible();
});

test('filters come from the address, and a new one begins at the first page', async () => {
  const { calls, router } = render(`/audit?page=2&target=${ID}`);
  await screen.findByText('maria2');
  expect(asked(calls)).toEqual({ who: '', target: ID, page: 2, count: 50 });
  await userEvent.type(screen.getByLabelText('Who'), ' maria{Enter}');
  await waitFor(() => expect(router.state.location.search).toBe(`?who=maria&target=${ID}`));
  await userEvent.click(screen.getByRole('button', { name: 'Clear filters' }));
  await waitFor(() => expect(router.state.location.search).toBe(''));
});

test('an action and a time narrow the list, and stand in the address', async () => {
  const { calls, router } = render('/audit?since=1700000000&until=1700003600');
  await screen.findByText('maria1');
  expect(asked(calls)).toMatchObject({ since: '1700000000', until: '1700003600' });
  const select = createWrapper().findSelect()!;
  select.openDropdown();
  expect(select.findDropdown().findOptions().length).toBeGreaterThan(40);
  select.selectOptionByValue('deleteTask');
  await waitFor(() => expect(asked(calls)).toMatchObject({ what: ['deleteTask'], since: '1700000000' }));
  expect(router.state.location.search).toBe('?what=deleteTask&since=1700000000&until=1700003600');
});

test('the export has every page, as of the moment it was asked for, and no formulas', async () => {
  const asked: Record<string, unknown>[] = [];
  const api = {
    request: (_: unknown, variables: { page: number }) => {
      asked.push(variables);
      return { listAudit: { total: 2, items: [{ ...entry, id: 3 - variables.page, who: '=cmd()' }] } };
    },
  } as unknown as Api;
  const { content, more } = await exportAudit(api, { who: 'x', what: ['stopTask'] }, 'csv');
  expect(more).toBe(false);
  expect(asked.map(({ page, what, until }) => [page, what, until])).toEqual([
    [1, ['stopTask'], asked[0]!.until],
    [2, ['stopTask'], asked[0]!.until],
  ]);
  expect(asked[0]!.until).toMatch(/Z$/);
  const [head, first, second] = content.split('\r\n');
  expect(head).toBe('id,at,who,via,what,target,outcome,detail');
  expect(first).toBe(`2,${entry.at},'=cmd(),token,pauseTask,${ID},ok,"{""id"": ""${ID}""}"`);
  expect(second).toMatch(/^1,/);
  const { content: json } = await exportAudit(api, {}, 'json');
  expect((JSON.parse(json) as unknown[]).length).toBe(2);
});

test('one click leaves only one user', async () => {
  const { router } = render();
  await userEvent.click(await screen.findByRole('button', { name: 'Only maria1' }));
  expect(router.state.location.search).toBe('?who=maria1');
});

test('the details of a call are shown as text', async () => {
  render();
  const [first] = await screen.findAllByRole('button', { name: 'Details: Pause task' });
  await userEvent.click(first!);
  const dialog = within(await screen.findByRole('dialog'));
  expect(dialog.getByText(/"id"/).tagName).toBe('PRE');
});

test('which task an entry is about', () => {
  expect(taskOf(entry)).toBe(ID);
  expect(taskOf({ what: 'createTask', target: '', outcome: `ok ${ID}` })).toBe(ID);
  expect(taskOf({ what: 'putChannel', target: ID, outcome: 'ok' })).toBe('');
  expect(taskOf({ what: 'stopTask', target: '../x', outcome: 'NOT_FOUND' })).toBe('');
});

test('details that were cut are shown as they are', () => {
  expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(pretty('{"a":')).toBe('{"a":');
});
