import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import { I18nProvider, type I18nProviderProps } from '@cloudscape-design/components/i18n';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { UserManager } from 'oidc-client-ts';
import { lazy, Suspense, useEffect, useRef, useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { AuthProvider, useAuth } from 'react-oidc-context';
import { cloudscapeMessages, type Language, LOCALES } from '../i18n';
import type { Config } from './config';
import { Bounded } from './Fault';
import { Waiting } from './Waiting';
import { CALLBACK, hasSignedOut, mayBeginAnew, returnPath, signIn } from './signIn';

/** All that comes after the sign-in: nobody waits for it before. */
const Console = lazy(async () => ({ default: (await import('./Console')).Console }));

export function App({ config, manager }: { config: Config; manager: UserManager }) {
  const { i18n } = useTranslation();
  const language = i18n.language as Language;
  return (
    <I18nProvider
      locale={LOCALES[language]}
      messages={[cloudscapeMessages[language] as I18nProviderProps.Messages]}
    >
      <AuthProvider
        userManager={manager}
        skipSigninCallback={location.pathname !== CALLBACK}
        onSigninCallback={(user) => history.replaceState({}, '', returnPath(user?.state))}
      >
        <SignedIn manager={manager}>
          <Bounded>
            <Suspense fallback={<Waiting />}>
              <Console config={config} manager={manager} />
            </Suspense>
          </Bounded>
        </SignedIn>
      </AuthProvider>
    </I18nProvider>
  );
}

/** Its children for one who is signed in; others go to the issuer, unless there is something to tell them first. */
function SignedIn({ manager, children }: { manager: UserManager; children: ReactNode }) {
  const auth = useAuth();
  const { t } = useTranslation();
  const leaving = useRef(false);
  const [failed, setFailed] = useState('');
  const problem = failed || auth.error?.message;
  const stays = Boolean(problem) || hasSignedOut();
  const go = !auth.isLoading && !auth.isAuthenticated && !stays;

  useEffect(() => {
    if (auth.error && location.pathname === CALLBACK && mayBeginAnew()) location.replace('/');
  }, [auth.error]);
  useEffect(() => {
    if (!go || leaving.current) return;
    leaving.current = true;
    signIn(manager).catch((error: unknown) => setFailed(String(error)));
  }, [go, manager]);

  if (auth.isAuthenticated) return children;
  if (!stays || auth.isLoading) return <Waiting />;
  return (
    <main className="dth-sign-in">
      <Container header={<Header variant="h1">{t('common.title')}</Header>}>
        <SpaceBetween size="l">
          {Boolean(problem) && (
            <Alert type="error" header={t('signIn.failed')}>
              {problem}
            </Alert>
          )}
          <Box variant="p">{problem ? t('signIn.try') : t('signIn.out')}</Box>
          <Button
            variant="primary"
            fullWidth
            onClick={() => void signIn(manager).catch((error: unknown) => setFailed(String(error)))}
          >
            {t('signIn.button')}
          </Button>
        </SpaceBetween>
      </Container>
    </main>
  );
}
