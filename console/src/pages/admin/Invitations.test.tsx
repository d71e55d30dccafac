import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { type Answers, renderPage } from '../../test/render';
import { Invitations, Invite } from './Invitations';

const LINK = 'https://hub.example.org/oidc/invitation#0123456789abcdef.secret';
const invitation = (id: string, state: string, usedBy = '') => ({
  id,
  role: 'operator',
  email: `${id}@example.org`,
  createdAt: '2026-11-24T10:00:00Z',
  createdBy: 'tester',
  expiresAt: '2026-12-01T10:00:00Z',
  state,
  usedBy,
});

const render = (element: React.ReactElement, answers: Answers = {}) =>
  renderPage({ path: '/users', element }, '/users', {
    AdminInvitations: () => ({
      listInvitations: [
        invitation('a', 'OPEN'),
        invitation('b', 'USED', 'maria'),
        invitation('c', 'WITHDRAWN'),
        invitation('d', 'EXPIRED'),
      ],
    }),
    CreateInvitation: () => ({ createInvitation: { id: 'x', url: LINK, expiresAt: null } }),
    WithdrawInvitation: () => ({ withdrawInvitation: true }),
    ...answers,
  });

test('invitations say what became of them, and only open ones are withdrawn', async () => {
  const { calls } = render(<Invitations />);
  const table = within(await screen.findByRole('table', { name: 'Invitations' }));
  for (const words of ['Open', 'Used by maria', 'Withdrawn', 'Expired'])
    expect(table.getByText(words)).toBeVisible();
  await userEvent.click(table.getByRole('button', { name: /^Withdraw the invitation of Nov 24, 2026/ }));
  const dialog = within(await screen.findByRole('dialog'));
  await userEvent.click(dialog.getByRole('button', { name: 'Withdraw' }));
  expect(await screen.findByText('The invitation is withdrawn.')).toBeVisible();
  expect(calls).toContainEqual({ name: 'WithdrawInvitation', variables: { id: 'a' } });
});

test('nothing is shown where nobody was invited', async () => {
  const { calls } = render(<Invitations />, { AdminInvitations: () => ({ listInvitations: [] }) });
  await waitFor(() => expect(calls).toHaveLength(1));
  expect(screen.queryByRole('table')).toBeNull();
});

test('a link is shown once', async () => {
  const { calls, baseElement } = render(<Invite onClose={() => {}} />);
  const form = within(await screen.findByRole('dialog'));
  await userEvent.click(form.getByRole('radio', { name: /^Operator/ }));
  await userEvent.type(form.getByLabelText(/^E-mail/), 'li@example.org');
  const days = form.getByLabelText('Days until it expires');
  await userEvent.clear(days);
  await userEvent.type(days, '31');
  await userEvent.click(form.getByRole('button', { name: 'Create the link' }));
  expect(form.getByText('Enter a number above 0, at most 30.')).toBeVisible();
  expect(calls).toEqual([]);
  await userEvent.clear(days);
  await userEvent.type(days, '3');
  await userEvent.click(form.getByRole('button', { name: 'Create the link' }));
  expect(await screen.findByText(LINK)).toBeVisible();
  expect(calls[0]).toEqual({
    name: 'CreateInvitation',
    variables: { role: 'operator', email: 'li@example.org', days: 3 },
  });
  expect(baseElement.innerHTML).toContain('becomes a user: Operator.');
});
