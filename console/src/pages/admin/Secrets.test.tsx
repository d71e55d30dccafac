import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { ApiError } from '../../api/client';
import { type Answers, renderPage } from '../../test/render';
import { Secrets } from './Secrets';
import { isObjectOfTexts, NO_FIELDS, valueOf } from '../../components/secretValue';

const KEY = 'wJalrXUtnFEMI/K7MDENG';
const stored = { name: 'store', description: 'the old one', updatedAt: '2026-11-24T10:00:00Z', hosts: ['*'] };

const render = (
  role: 'viewer' | 'operator' | 'admin' = 'operator',
  answers: Answers = {},
  secrets = [stored],
) =>
  renderPage(
    { path: '/secrets', element: <Secrets /> },
    '/secrets',
    {
      AdminSecrets: () => ({ listSecrets: secrets }),
      StoreSecret: () => ({ createSecret: { name: 'new' } }),
      ChangeSecret: () => ({ updateSecret: { name: 'store' } }),
      BindSecret: () => ({ bindSecret: { name: 'store' } }),
      DeleteSecret: () => ({ deleteSecret: { name: 'store' } }),
      ...answers,
    },
    role,
  );

async function openForm() {
  await screen.findByText('store');
  await userEvent.click(screen.getByRole('button', { name: 'Store a secret' }));
  return within(await screen.findByRole('dialog'));
}

test('keys are stored as JSON, and are nowhere afterwards', async () => {
  const { calls, baseElement } = render();
  const form = await openForm();
  await userEvent.type(form.getByLabelText('Name'), 'new');
  await userEvent.type(form.getByLabelText('Access key ID'), ' AKIA1 ');
  await userEvent.type(form.getByLabelText('Secret access key'), KEY);
  expect(form.getByLabelText('Secret access key')).toHaveAttribute('type', 'password');
  await userEvent.click(form.getByRole('button', { name: 'Create' }));

  expect(await screen.findByText('Secret new is stored.')).toBeVisible();
  const call = calls.find(({ name }) => name === 'StoreSecret')!;
  const { value, ...rest } = call.variables as { value: string };
  expect(rest).toEqual({ name: 'new', description: '' });
  expect(JSON.parse(value)).toEqual({ access_key_id: 'AKIA1', secret_access_key: KEY });
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
  const fields = [...baseElement.querySelectorAll('input, textarea')] as HTMLInputElement[];
  expect(fields.some((field) => field.value.includes(KEY))).toBe(false);
  expect(baseElement.innerHTML).not.toContain(KEY);
});

test('a form that is not complete says so, and calls nothing', async () => {
  const { calls } = render();
  const form = await openForm();
  await userEvent.click(form.getByRole('button', { name: 'Create' }));
  expect(form.getAllByText('Required.')).toHaveLength(3);
  await userEvent.click(form.getByRole('radio', { name: /^JSON/ }));
  expect(form.getByText('This is not a JSON object with texts as values.')).toBeVisible();
  expect(calls.some(({ name }) => name === 'StoreSecret')).toBe(false);
});

test('what the hub says against it stands in the form, with what was typed', async () => {
  render('operator', {
    StoreSecret: () => {
      throw new ApiError("there is a secret 'store' already", 'CONFLICT');
    },
  });
  const form = await openForm();
  await userEvent.type(form.getByLabelText('Name'), 'store');
  await userEvent.type(form.getByLabelText('Access key ID'), 'AKIA1');
  await userEvent.type(form.getByLabelText('Secret access key'), KEY);
  await userEvent.click(form.getByRole('button', { name: 'Create' }));
  expect(await form.findByText("there is a secret 'store' already")).toBeVisible();
  expect(form.getByLabelText('Name')).toHaveValue('store');
});

test('a description changes without the value', async () => {
  const { calls } = render();
  await screen.findByText('store');
  await userEvent.click(screen.getByRole('button', { name: 'Actions for store' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: 'Change' }));
  const form = within(await screen.findByRole('dialog'));
  await userEvent.clear(form.getByLabelText(/^Description/));
  await userEvent.type(form.getByLabelText(/^Description/), 'renewed');
  await userEvent.click(form.getByRole('button', { name: 'Save' }));
  await screen.findByText('Secret store is changed.');
  expect(calls).toContainEqual({
    name: 'ChangeSecret',
    variables: { name: 'store', value: null, description: 'renewed' },
  });
});

test('the list says where a secret may be used, and warns of one for any host', async () => {
  render('viewer', {}, [
    stored,
    { ...stored, name: 'bound', hosts: ['store.example.com', '*.amazonaws.com'] },
    { ...stored, name: 'new', hosts: [] },
  ]);
  expect(await screen.findByText('Any host: bind it')).toBeVisible();
  expect(screen.getByText('store.example.com, *.amazonaws.com')).toBeVisible();
  expect(screen.getByText('Bound at first use')).toBeVisible();
});

test('an administrator binds a secret to hosts', async () => {
  const { calls } = render('admin');
  await screen.findByText('store');
  await userEvent.click(screen.getByRole('button', { name: 'Actions for store' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: 'Bind to hosts' }));
  const form = within(await screen.findByRole('dialog'));
  await userEvent.clear(form.getByLabelText('Hosts'));
  await userEvent.type(form.getByLabelText('Hosts'), 'a.example.com, b.example.com:9000');
  await userEvent.click(form.getByRole('button', { name: 'Save' }));
  await screen.findByText('Secret store is changed.');
  expect(calls).toContainEqual({
    name: 'BindSecret',
    variables: { name: 'store', hosts: ['a.example.com', 'b.example.com:9000'] },
  });
});

test('an operator binds nothing', async () => {
  render('operator');
  await screen.findByText('store');
  await userEvent.click(screen.getByRole('button', { name: 'Actions for store' }));
  await screen.findByRole('menuitem', { name: 'Change' });
  expect(screen.queryByRole('menuitem', { name: 'Bind to hosts' })).toBeNull();
});

test('deleting asks first', async () => {
  const { calls } = render();
  await screen.findByText('store');
  await userEvent.click(screen.getByRole('button', { name: 'Actions for store' }));
  await userEvent.click(await screen.findByRole('menuitem', { name: 'Delete' }));
  const dialog = within(await screen.findByRole('dialog'));
  expect(calls.some(({ name }) => name === 'DeleteSecret')).toBe(false);
  await userEvent.click(dialog.getByRole('button', { name: 'Delete' }));
  expect(await screen.findByText('store is deleted.')).toBeVisible();
});

test('a viewer sees names, and nothing to do', async () => {
  render('viewer');
  expect(await screen.findByText('store')).toBeVisible();
  expect(screen.queryByRole('button', { name: 'Store a secret' })).toBeNull();
  expect(screen.queryByRole('button', { name: 'Actions for store' })).toBeNull();
});

test('a search looks at names and descriptions, and stands in the address', async () => {
  const other = { name: 'other', description: '', updatedAt: null, hosts: [] };
  const { router } = render('operator', {}, [stored, other as never]);
  await screen.findByText('other');
  await userEvent.type(screen.getByRole('searchbox', { name: 'Find in Secrets' }), 'OLD');
  await waitFor(() => expect(screen.queryByText('other')).toBeNull());
  expect(screen.getByText('store')).toBeVisible();
  expect(router.state.location.search).toBe('?text=OLD');
});

const rows = () => screen.getAllByRole('rowheader').map((cell) => cell.textContent);

test('rows are sorted by a column, numbers in names as numbers', async () => {
  const secrets = ['b10', 'b9', 'a'].map((name) => ({
    name,
    description: '',
    updatedAt: '',
    hosts: ['a.example.com'],
  }));
  render('viewer', {}, secrets);
  await screen.findByText('b10');
  expect(rows()).toEqual(['b10', 'b9', 'a']);
  await userEvent.click(screen.getByRole('button', { name: /^Name/ }));
  expect(rows()).toEqual(['a', 'b9', 'b10']);
  await userEvent.click(screen.getByRole('button', { name: /^Name/ }));
  expect(rows()).toEqual(['b10', 'b9', 'a']);
});

test('only what was given is in the value', () => {
  const keys = { ...NO_FIELDS, accessKeyId: 'a', secretAccessKey: 'b', roleArn: 'r', externalId: 'e' };
  expect(JSON.parse(valueOf(keys))).toEqual({
    access_key_id: 'a',
    secret_access_key: 'b',
    role_arn: 'r',
    external_id: 'e',
  });
  expect(valueOf({ ...keys, kind: 'json', json: ' {"password": "x"}\n' })).toBe('{"password": "x"}');
});

test.each([
  ['{"password": "x"}', true],
  ['{}', false],
  ['{"a": 1}', false],
  ['["a"]', false],
  ['null', false],
  ['{', false],
])('%s as a value', (text, good) => {
  expect(isObjectOfTexts(text)).toBe(good);
});
