import type { UserManager } from 'oidc-client-ts';
import { createApi } from '../api/client';
import { ConfirmIssuerDocument } from '../api/generated';
import type { Config } from './config';
import { createUserManager } from './signIn';
import { answered, asked, keepFailure } from './trial';

/**
 * Signs in through an issuer that waits; on the way back, shows the hub what the issuer gave. If the hub takes it, that
 * issuer is in force, and this tab is signed in there. `manager`: that of the sign-in of today.
 */
export async function takeTrial(config: Config, manager: UserManager): Promise<void> {
  try {
    const begun = asked();
    if (begun) {
      await createUserManager(begun).signinRedirect({ state: { trial: begun }, redirectMethod: 'replace' });
      return;
    }
    const tried = createUserManager(answered()!);
    const user = await tried.signinRedirectCallback();
    try {
      const api = createApi(config.graphqlEndpoint, manager);
      await api.request(ConfirmIssuerDocument, { token: user.access_token });
      await manager.removeUser(); // the hub no longer takes its tokens
    } catch (error) {
      await tried.removeUser();
      throw error;
    }
  } catch (error) {
    keepFailure(error instanceof Error ? error.message : String(error));
  }
  location.replace('/sign-in');
}
