import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { renderPage, type Answers } from '../../test/render';
import { SignIn } from './SignIn';

const ISSUER = {
  issuer: 'https://login.example.org',
  clientId: 'dth',
  audience: '',
  scope: 'openid',
  roleClaim: 'groups',
  roles: [{ group: 'Admins', role: 'admin' }],
  defaultRole: null,
  caBundle: '',
};

const render = (state: object, answers: Answers = {}, setsSignIn = true) =>
  renderPage({ path: '/sign-in', element: <SignIn /> }, '/sign-in', {
    AdminHub: () => ({ hubInfo: { setsSignIn } }),
    AdminSignIn: () => ({
      getSignIn: { source: 'BUILT_IN', overridden: false, issuer: null, waiting: null, ...state },
    }),
    ...answers,
  });

test('an issuer is tested and saved', async () => {
  const { calls } = render(
    {},
    {
      TestIssuer: () => ({
        testIssuer: [
          { name: 'REACHABLE', state: 'OK', found: 'there' },
          { name: 'PKCE', state: 'FAILED', found: 'does not offer PKCE' },
        ],
      }),
      SaveIssuer: () => ({ saveIssuer: { id: 'x' } }),
    },
  );
  await userEvent.click(await screen.findByRole('button', { name: 'Set an issuer' }));
  const dialog = within(await screen.findByRole('dialog'));
  await userEvent.click(dialog.getByRole('button', { name: 'Test' }));
  expect(dialog.getAllByText('Required.')).toHaveLength(2);
  await userEvent.type(dialog.getByLabelText('Issuer'), ' https://login.example.org ');
  await userEvent.type(dialog.getByLabelText('Client ID'), 'dth');
  await userEvent.click(dialog.getByRole('button', { name: 'Add a group' }));
  await userEvent.type(dialog.getByLabelText('Group 1'), 'Admins');
  await userEvent.click(dialog.getByRole('button', { name: 'Test' }));
  expect(await dialog.findByText(/does not offer PKCE/)).toBeVisible();
  expect(dialog.queryByText('The test found nothing wrong.')).toBeNull();
  await userEvent.click(dialog.getByRole('button', { name: 'Save' }));
  expect(await screen.findByText(/Sign in there to put it in force/)).toBeVisible();
  const saved = calls.find(({ name }) => name === 'SaveIssuer')?.variables;
  expect(saved).toMatchObject({
    input: {
      issuer: 'https://login.example.org',
      clientId: 'dth',
      roles: [{ group: 'Admins', role: 'viewer' }],
      defaultRole: null,
    },
  });
});

test('what hub.yaml sets is only shown', async () => {
  render({ source: 'FILE', issuer: ISSUER });
  expect(await screen.findByText('The settings file sets the issuer')).toBeVisible();
  expect(screen.getByText('https://login.example.org')).toBeVisible();
  expect(screen.getByText('Admins: Administrator')).toBeVisible();
  expect(screen.queryByRole('button', { name: 'Change' })).toBeNull();
});

test('an issuer that waits is discarded, or tried', async () => {
  const { calls } = render({ waiting: ISSUER }, { DiscardIssuer: () => ({ discardIssuer: { id: '' } }) });
  expect(await screen.findByRole('button', { name: 'Sign in and put it in force' })).toBeVisible();
  await userEvent.click(screen.getByRole('button', { name: 'Discard' }));
  const dialog = within(await screen.findByRole('dialog'));
  await userEvent.click(dialog.getByRole('button', { name: 'Discard' }));
  expect(await screen.findByText('The issuer is discarded.')).toBeVisible();
  expect(calls.map(({ name }) => name)).toContain('DiscardIssuer');
});

test('why a sign-in did not work is told once', async () => {
  sessionStorage.setItem('dth.trial-failed', 'erika has the role viewer');
  render({ waiting: ISSUER });
  expect(await screen.findByText('erika has the role viewer')).toBeVisible();
  expect(sessionStorage.getItem('dth.trial-failed')).toBeNull();
});

test('on AWS the deployment decides', async () => {
  const { calls } = render({}, {}, false);
  expect(await screen.findByText('The deployment sets the sign-in')).toBeVisible();
  expect(calls.map(({ name }) => name)).not.toContain('AdminSignIn');
});
