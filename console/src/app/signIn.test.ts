import { expect, test, vi } from 'vitest';
import { signOut } from './signIn';

function manager() {
  const done: string[] = [];
  const does = (what: string) => vi.fn(() => Promise.resolve(void done.push(what)));
  return {
    done,
    settings: { authority: 'https://hub.example.com/oidc', client_id: 'dth-console' },
    revokeTokens: does('revoke'),
    signoutRedirect: does('redirect'),
    removeUser: does('remove'),
  };
}

test('signing out gives the tokens back before it ends the session', async () => {
  const session = manager();
  await signOut(session);
  expect(session.done).toEqual(['revoke', 'redirect']);
});

test('an issuer that takes no tokens back is signed out from all the same', async () => {
  const session = manager();
  session.revokeTokens.mockRejectedValue(new Error('no revocation_endpoint'));
  await signOut(session);
  expect(session.done).toEqual(['redirect']);
});
