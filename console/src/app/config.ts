/** An issuer, as this console signs in there. */
export interface Oidc {
  authority: string;
  clientId: string;
  scope: string;
  audience: string;
}

/** What `/config.json` says: the same files are served by every hub, and only this differs. */
export interface Config {
  /** The hub's own address, where it has but one: its users sign in nowhere else. */
  url?: string;
  graphqlEndpoint: string;
  oidc: Oidc;
}

export async function loadConfig(): Promise<Config> {
  const response = await fetch('/config.json', { cache: 'no-store' });
  if (!response.ok) throw new Error(`/config.json: HTTP ${response.status}`);
  return (await response.json()) as Config;
}
