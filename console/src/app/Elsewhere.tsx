import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import { useTranslation } from 'react-i18next';

const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]']);

/** The same place of the hub at its own address; null where this is it. */
export function properAddress(hub: string | undefined, here: URL): string | null {
  if (!hub || new URL(hub).origin === here.origin) return null;
  return new URL(hub).origin + here.pathname + here.search + here.hash;
}

/** Whether an address is but another name for this one. */
export function isSamePlace(address: string, here: URL): boolean {
  const there = new URL(address);
  return there.port === here.port && LOOPBACK.has(there.hostname) && LOOPBACK.has(here.hostname);
}

/** The hub is reached by an address that is not its own. */
export function Elsewhere({ address }: { address: string }) {
  const { t } = useTranslation();
  return (
    <main className="dth-sign-in">
      <Alert
        type="warning"
        header={t('signIn.elsewhere')}
        action={<Button href={address}>{t('signIn.goThere')}</Button>}
      >
        {t('signIn.elsewhereHint', { url: new URL(address).origin })}
      </Alert>
    </main>
  );
}
