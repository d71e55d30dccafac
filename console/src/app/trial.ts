import type { Oidc } from './config';
import { CALLBACK } from './signIn';

/**
 * An issuer that waits is tried by signing in there, in this tab. The page that begins it is loaded anew, because only
 * then may it send requests to that issuer (Content-Security-Policy).
 */
const TRIAL = '/auth/trial';
const ASKED = 'dth.trial';
const FAILED = 'dth.trial-failed';

/** Off to the issuer that waits. */
export function beginTrial(oidc: Oidc): void {
  sessionStorage.setItem(ASKED, JSON.stringify(oidc));
  location.assign(TRIAL);
}

/** The issuer that this page is to begin the trial of; null if it is another page. */
export function asked(): Oidc | null {
  const found = location.pathname === TRIAL ? sessionStorage.getItem(ASKED) : null;
  return found === null ? null : (JSON.parse(found) as Oidc);
}

/** The issuer whose answer to a trial this page has; null if it has none, or that of a usual sign-in. */
export function answered(): Oidc | null {
  if (location.pathname !== CALLBACK) return null;
  const state = new URLSearchParams(location.search).get('state');
  const begun = sessionStorage.getItem(`oidc.${state}`);
  const { data } = JSON.parse(begun ?? '{}') as { data?: { trial?: Oidc } };
  return data?.trial ?? null;
}

export const isTrial = () => asked() !== null || answered() !== null;

export const keepFailure = (why: string) => sessionStorage.setItem(FAILED, why);

/** Why the last trial failed, once. */
export function takeFailure(): string {
  const why = sessionStorage.getItem(FAILED) ?? '';
  sessionStorage.removeItem(FAILED);
  return why;
}
