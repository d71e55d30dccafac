import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { ApiError } from '../../api/client';
import { type Answers, renderPage } from '../../test/render';
import { randomPassword } from './PasswordField';
import { Users } from './Users';

const usual = { email: '', createdAt: '2026-11-24T10:00:00Z', lastLoginAt: null, mustChangePassword: true };
const users = [
  { ...usual, name: 'maria', role: 'viewer' },
  { ...usual, name: 'tester', role: 'admin', mustChangePassword: false },
];
const hub = (kept: number | null) => () => ({
  hubInfo: {
    version: '0.1.0',
    platform: 'local',
    issuer: 'https://login.example.org',
    users: kept,
    plugins: ['s3'],
    limits: '{}',
    invites: true,
    certificateKey: 'abc',
  },
});

const render = (answers: Answers = {}) =>
  renderPage({ path: '/users', element: <Users /> }, '/users', {
    AdminHub: hub(2),
    AdminUsers: () => ({ listUsers: users }),
    AdminInvitations: () => ({ listInvitations: [] }),
    ...answers,
  });

async function open(name: string, action: string) {
  await screen.findByText('maria');
  await userEvent.click(screen.getByRole('button', { name: `Actions for ${name}` }));
  await userEvent.click(await screen.findByRole('menuitem', { name: action }));
  return within(await screen.findByRole('dialog'));
}

test('a role is changed', async () => {
  const { calls } = render({ SetUserRole: () => ({ setUserRole: { name: 'maria', role: 'operator' } }) });
  const dialog = await open('maria', 'Change role');
  expect(dialog.getByRole('radio', { name: /^Viewer/ })).toBeChecked();
  await userEvent.click(dialog.getByRole('radio', { name: /^Operator/ }));
  await userEvent.click(dialog.getByRole('button', { name: 'Save' }));
  expect(await screen.findByText('maria is now: Operator.')).toBeVisible();
  expect(calls).toContainEqual({ name: 'SetUserRole', variables: { name: 'maria', role: 'operator' } });
});

test('who takes the role of an admin away from himself is warned, and told why the hub refuses', async () => {
  render({
    SetUserRole: () => {
      throw new ApiError("'tester' is the last admin; make another one first", 'CONFLICT');
    },
  });
  const dialog = await open('tester', 'Change role');
  expect(dialog.queryByText(/^This is you/)).toBeNull();
  await userEvent.click(dialog.getByRole('radio', { name: /^Viewer/ }));
  expect(dialog.getByText(/^This is you/)).toBeVisible();
  await userEvent.click(dialog.getByRole('button', { name: 'Save' }));
  expect(await dialog.findByText("'tester' is the last admin; make another one first")).toBeVisible();
});

test('deleting oneself is something else than deleting another', async () => {
  render();
  const dialog = await open('tester', 'Delete');
  expect(dialog.getByText(/^This is you. You will be signed out/)).toBeVisible();
});

test('a user is added with a password that was made', async () => {
  const { calls, baseElement } = render({ CreateUser: () => ({ createUser: { name: 'li' } }) });
  await screen.findByText('maria');
  await userEvent.click(screen.getByRole('button', { name: 'Add user' }));
  const dialog = within(await screen.findByRole('dialog'));
  await userEvent.type(dialog.getByLabelText('Name'), 'li');
  await userEvent.type(dialog.getByLabelText('Password'), 'short');
  await userEvent.click(dialog.getByRole('button', { name: 'Add user' }));
  expect(dialog.getByText('Enter at least 12 characters.')).toBeVisible();
  await userEvent.click(dialog.getByRole('button', { name: 'Generate' }));
  const field = dialog.getByLabelText<HTMLInputElement>('Password');
  expect(field.type).toBe('text');
  const password = field.value;
  await userEvent.click(dialog.getByRole('button', { name: 'Add user' }));
  expect(await screen.findByText(/^li is added/)).toBeVisible();
  expect(calls).toContainEqual({
    name: 'CreateUser',
    variables: { name: 'li', password, role: 'viewer', email: '' },
  });
  expect(baseElement.innerHTML).not.toContain(password);
});

test('passwords that are made are long and differ', () => {
  const made = Array.from({ length: 50 }, randomPassword);
  expect(new Set(made).size).toBe(50);
  for (const password of made) expect(password).toMatch(/^[a-zA-Z2-9]{20}$/);
});

test('users of another issuer are kept there', async () => {
  const { calls } = render({ AdminHub: hub(null) });
  expect(await screen.findByText('An external issuer manages users')).toBeVisible();
  expect(screen.getByText('https://login.example.org')).toBeVisible();
  expect(calls.some(({ name }) => name === 'AdminUsers')).toBe(false);
});
