import { UserManager, WebStorageStateStore } from 'oidc-client-ts';
import type { Oidc } from './config';

export const CALLBACK = '/auth/callback';
export const SILENT_CALLBACK = '/auth/silent';
const SIGNED_OUT = 'dth.signed-out';
const BEGUN_ANEW = 'dth.begun-anew';
const ONCE_IN = 10_000; // milliseconds

/**
 * Sign-in by authorization code with PKCE. Tokens are in the session storage of this tab, and go with it; what
 * outlives it is the issuer's own session.
 */
export function createUserManager(oidc: Oidc): UserManager {
  const store = new WebStorageStateStore({ store: sessionStorage });
  return new UserManager({
    authority: oidc.authority,
    client_id: oidc.clientId,
    scope: oidc.scope,
    extraQueryParams: oidc.audience ? { audience: oidc.audience } : {},
    redirect_uri: location.origin + CALLBACK,
    silent_redirect_uri: location.origin + SILENT_CALLBACK,
    post_logout_redirect_uri: `${location.origin}/`,
    automaticSilentRenew: true,
    userStore: store,
    stateStore: store,
  });
}

/** Off to the issuer, and back to this very page. */
export async function signIn(manager: UserManager): Promise<void> {
  sessionStorage.removeItem(SIGNED_OUT);
  const here = location.pathname === CALLBACK ? '/' : location.pathname + location.search + location.hash;
  // In place of this entry of the history: going back would come to the issuer, who sends one here again.
  await manager.signinRedirect({ state: { returnTo: here }, redirectMethod: 'replace' });
}

interface Session extends Pick<UserManager, 'revokeTokens' | 'signoutRedirect' | 'removeUser'> {
  settings: { authority: string; client_id: string; post_logout_redirect_uri?: string | undefined };
}

export async function signOut(manager: Session): Promise<void> {
  sessionStorage.setItem(SIGNED_OUT, '1'); // or coming back would sign in again at once
  const { authority, client_id, post_logout_redirect_uri } = manager.settings;
  // Cognito ends a session in words of its own.
  const extraQueryParams: Record<string, string> = authority.startsWith('https://cognito-idp.')
    ? { client_id, logout_uri: post_logout_redirect_uri ?? '' }
    : {};
  // What this tab holds ends whatever becomes of the issuer's own session. Not every issuer can do that.
  await manager.revokeTokens(['refresh_token']).catch(() => undefined);
  try {
    await manager.signoutRedirect({ extraQueryParams });
  } catch {
    await manager.removeUser(); // an issuer without an end to its sessions
  }
}

/**
 * Whether an answer of the issuer that fits nothing may be discarded, and the page begun again: it comes when one goes
 * back over a sign-in. Once in a while: an issuer that answers wrongly every time is to be told.
 */
export function mayBeginAnew(): boolean {
  const last = Number(sessionStorage.getItem(BEGUN_ANEW) ?? 0);
  if (Date.now() - last < ONCE_IN) return false;
  sessionStorage.setItem(BEGUN_ANEW, String(Date.now()));
  return true;
}

/** Whether this tab has a session, good or not. */
export const isSignedIn = () => Object.keys(sessionStorage).some((key) => key.startsWith('oidc.user:'));

export const hasSignedOut = () => sessionStorage.getItem(SIGNED_OUT) !== null;

/** Where to go after a sign-in: a path of ours, never another site. */
export function returnPath(state: unknown): string {
  const to = (state as { returnTo?: unknown } | undefined)?.returnTo;
  return typeof to === 'string' && /^\/(?![/\\])/.test(to) ? to : '/';
}
