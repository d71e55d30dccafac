import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { renderPage } from '../../test/render';
import { Tokens } from './Tokens';

const TOKEN = 'dth_abcdefghijklmnopqrstuvwxyz';
const token = (id: string, expiresAt: string | null) => ({
  id,
  name: id,
  role: 'viewer',
  createdAt: '2026-11-24T10:00:00Z',
  expiresAt,
  lastUsedAt: null,
  createdBy: 'maria',
});

const render = () =>
  renderPage({ path: '/tokens', element: <Tokens /> }, '/tokens', {
    AdminTokens: () => ({ listTokens: [token('board', null), token('old', '2020-01-01T00:00:00Z')] }),
    CreateToken: () => ({ createToken: { token: TOKEN, info: { id: 'x', name: 'ci' } } }),
    RevokeToken: () => ({ revokeToken: true }),
  });

test('a token is shown once', async () => {
  const { calls, baseElement } = render();
  await screen.findByText('board');
  await userEvent.click(screen.getByRole('button', { name: 'Create token' }));
  const form = within(await screen.findByRole('dialog'));
  await userEvent.type(form.getByLabelText('Name'), 'ci');
  await userEvent.click(form.getByRole('radio', { name: /^Operator/ }));
  await userEvent.clear(form.getByLabelText('Days until it expires'));
  await userEvent.type(form.getByLabelText('Days until it expires'), '30');
  await userEvent.click(form.getByRole('button', { name: 'Create' }));

  expect(await screen.findByText(TOKEN)).toBeVisible();
  expect(screen.getByText(/^Copy it now/)).toBeVisible();
  expect(calls).toContainEqual({
    name: 'CreateToken',
    variables: { name: 'ci', role: 'operator', days: 30 },
  });
  await userEvent.click(screen.getByRole('button', { name: 'I have copied it' }));
  await waitFor(() => expect(baseElement.innerHTML).not.toContain(TOKEN));
});

test.each([
  ['', null],
  ['0', undefined],
  ['4000', undefined],
])('%s days', async (text, days) => {
  const { calls } = render();
  await screen.findByText('board');
  await userEvent.click(screen.getByRole('button', { name: 'Create token' }));
  const form = within(await screen.findByRole('dialog'));
  await userEvent.type(form.getByLabelText('Name'), 'ci');
  await userEvent.clear(form.getByLabelText('Days until it expires'));
  if (text) await userEvent.type(form.getByLabelText('Days until it expires'), text);
  await userEvent.click(form.getByRole('button', { name: 'Create' }));
  const called = calls.find(({ name }) => name === 'CreateToken');
  expect((called?.variables as { days: number | null } | undefined)?.days).toBe(days);
});

test('a token that has run out says so, and revoking asks first', async () => {
  const { calls } = render();
  expect(await screen.findByText(/^Expired Jan 1, 2020/)).toBeVisible();
  await userEvent.click(screen.getByRole('button', { name: 'Revoke board' }));
  const dialog = within(await screen.findByRole('dialog'));
  expect(calls.some(({ name }) => name === 'RevokeToken')).toBe(false);
  await userEvent.click(dialog.getByRole('button', { name: 'Revoke' }));
  expect(await screen.findByText('Token board is revoked.')).toBeVisible();
  expect(calls).toContainEqual({ name: 'RevokeToken', variables: { id: 'board' } });
});
