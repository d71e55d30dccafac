import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Skeleton from '@cloudscape-design/components/skeleton';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminHubDocument,
  AdminSignInDocument,
  type AdminSignInQuery,
  DiscardIssuerDocument,
  UseBuiltInSignInDocument,
} from '../../api/generated';
import { useData } from '../../api/hooks';
import { beginTrial, takeFailure } from '../../app/trial';
import { Copyable } from '../../components/Copyable';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { ConfirmChange } from './ConfirmChange';
import { IssuerForm } from './IssuerForm';

type State = AdminSignInQuery['getSignIn'];
type Issuer = NonNullable<State['issuer']>;
type Dialog = 'set' | 'back' | 'discard';

/** Where users sign in: at the hub, or at an issuer that takes effect when an administrator has signed in there. */
export function SignIn() {
  const { t } = useTranslation();
  const hub = useData(AdminHubDocument, {});
  const settable = hub.data?.hubInfo.setsSignIn;
  const { data, error, refetch } = useData(AdminSignInDocument, {}, { enabled: settable === true });
  const [failure] = useState(takeFailure);
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const state = data?.getSignIn;
  const close = () => setDialog(null);
  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('admin.signIn.about')}>
        {t('nav.signIn')}
      </Header>
      <ErrorAlert error={hub.error ?? error} retry={() => void (hub.error ? hub.refetch() : refetch())} />
      {failure !== '' && (
        <Alert type="error" header={t('admin.signIn.failed')}>
          <HubText>{failure}</HubText>
        </Alert>
      )}
      {settable === false && (
        <Alert type="info" header={t('admin.signIn.deployment')}>
          {t('admin.signIn.deploymentHint')}
        </Alert>
      )}
      {state ? (
        <SpaceBetween size="l">
          <Notes state={state} onDiscard={() => setDialog('discard')} />
          <Today state={state} onOpen={setDialog} />
          {state.source !== 'FILE' && <Register />}
        </SpaceBetween>
      ) : (
        settable !== false && !error && !hub.error && <Skeleton height="160px" />
      )}
      {state && dialog === 'set' && (
        <IssuerForm
          {...((state.waiting ?? state.issuer) && { known: state.waiting ?? state.issuer! })}
          onClose={close}
        />
      )}
      {dialog === 'back' && (
        <ConfirmChange
          title={t('admin.signIn.backTitle')}
          action={t('admin.signIn.back')}
          document={UseBuiltInSignInDocument}
          variables={{}}
          stale={[]}
          // This session has ended: whoever loads the page anew signs in at the hub.
          done={() => location.assign('/sign-in')}
          onClose={close}
        >
          {t('admin.signIn.backHint')}
        </ConfirmChange>
      )}
      {dialog === 'discard' && (
        <ConfirmChange
          title={t('admin.signIn.discardTitle')}
          action={t('admin.signIn.discard')}
          document={DiscardIssuerDocument}
          variables={{}}
          stale={[AdminSignInDocument]}
          done={t('admin.signIn.discarded')}
          onClose={close}
        >
          {t('admin.signIn.discardHint')}
        </ConfirmChange>
      )}
    </SpaceBetween>
  );
}

/** What keeps the setting from being changed or from being in force. */
function Notes({ state, onDiscard }: { state: State; onDiscard: () => void }) {
  const { t } = useTranslation();
  const { waiting } = state;
  return (
    <>
      {state.source === 'FILE' && (
        <Alert type="info" header={t('admin.signIn.file')}>
          {t('admin.signIn.fileHint')}
        </Alert>
      )}
      {state.overridden && (
        <Alert type="warning" header={t('admin.signIn.overridden')}>
          {t('admin.signIn.overriddenHint')}
        </Alert>
      )}
      {waiting && (
        <Alert
          type="warning"
          header={t('admin.signIn.waits')}
          action={
            <SpaceBetween direction="horizontal" size="xs">
              <Button onClick={onDiscard}>{t('admin.signIn.discard')}</Button>
              <Button
                variant="primary"
                onClick={() =>
                  beginTrial({
                    authority: waiting.issuer,
                    clientId: waiting.clientId,
                    scope: waiting.scope,
                    audience: waiting.audience,
                  })
                }
              >
                {t('admin.signIn.try')}
              </Button>
            </SpaceBetween>
          }
        >
          {t('admin.signIn.waitsHint', { issuer: waiting.issuer })}
        </Alert>
      )}
    </>
  );
}

function Today({ state, onOpen }: { state: State; onOpen: (dialog: Dialog) => void }) {
  const { t } = useTranslation();
  const { issuer } = state;
  return (
    <Container
      header={
        <Header
          variant="h2"
          actions={
            state.source !== 'FILE' && (
              <SpaceBetween direction="horizontal" size="xs">
                {issuer && <Button onClick={() => onOpen('back')}>{t('admin.signIn.back')}</Button>}
                <Button variant={state.waiting ? 'normal' : 'primary'} onClick={() => onOpen('set')}>
                  {t(issuer || state.waiting ? 'admin.signIn.change' : 'admin.signIn.set')}
                </Button>
              </SpaceBetween>
            )
          }
        >
          {t('admin.signIn.now')}
        </Header>
      }
    >
      {issuer ? (
        <Parts issuer={issuer} />
      ) : (
        <div>
          <Box variant="h3">{t('admin.signIn.builtIn')}</Box>
          <Box variant="p">{t('admin.signIn.builtInHint')}</Box>
        </div>
      )}
    </Container>
  );
}

function Parts({ issuer }: { issuer: Issuer }) {
  const { t } = useTranslation();
  const fields = [
    ['issuer', issuer.issuer],
    ['clientId', issuer.clientId],
    ['claim', issuer.roleClaim],
    ['default', t(issuer.defaultRole ? `role.${issuer.defaultRole}` : 'admin.signIn.refused')],
    ['audience', issuer.audience],
    ['scope', issuer.scope],
    ['caBundle', issuer.caBundle],
  ] as const;
  return (
    <KeyValuePairs
      columns={3}
      items={[
        ...fields
          .filter(([, value]) => value)
          .map(([name, value]) => ({
            label: t(`admin.signIn.${name}`),
            value: <span className="dth-break">{value}</span>,
          })),
        ...issuer.roles.map(({ group, role }) => ({
          label: t('admin.signIn.group'),
          value: (
            <span className="dth-break">
              {group}: {t(`role.${role}`)}
            </span>
          ),
        })),
      ]}
    />
  );
}

/** What an issuer has to know of this hub. */
function Register() {
  const { t } = useTranslation();
  const addresses = [
    ['callback', `${location.origin}/auth/callback`],
    ['silent', `${location.origin}/auth/silent`],
    ['logout', `${location.origin}/`],
    ['cli', 'http://127.0.0.1/callback'],
  ] as const;
  return (
    <Container
      header={
        <Header variant="h2" description={t('admin.signIn.registerHint')}>
          {t('admin.signIn.register')}
        </Header>
      }
      footer={t('admin.signIn.wayBack')}
    >
      <KeyValuePairs
        columns={2}
        items={addresses.map(([name, text]) => ({
          label: t(`admin.signIn.${name}`),
          value: <Copyable text={text} />,
        }))}
      />
    </Container>
  );
}
