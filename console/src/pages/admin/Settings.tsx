import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SegmentedControl from '@cloudscape-design/components/segmented-control';
import Select from '@cloudscape-design/components/select';
import Skeleton from '@cloudscape-design/components/skeleton';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { AdminHubDocument, type AdminHubQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { setDark, useDark } from '../../app/theme';
import { Copyable } from '../../components/Copyable';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { useKindTexts } from '../../plugins/registry';
import { changeLanguage, LANGUAGES, type Language } from '../../i18n';
import { PageLink } from '../../components/PageLink';

type Info = AdminHubQuery['hubInfo'];

/** What the hub is and how it is set up, and how this console looks. */
export function Settings() {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(AdminHubDocument, {});
  return (
    <SpaceBetween size="l">
      <Header variant="h1" description={t('admin.settings.about')}>
        {t('nav.settings')}
      </Header>
      <ErrorAlert error={error} retry={() => void refetch()} />
      {data ? <About info={data.hubInfo} /> : !error && <Skeleton height="160px" />}
      {data?.hubInfo.platform === 'local' && (
        <SpaceBetween size="l">
          <Addresses />
          <HowToChange />
        </SpaceBetween>
      )}
      <Preferences />
    </SpaceBetween>
  );
}

function About({ info }: { info: Info }) {
  const { t } = useTranslation();
  const { number, locale } = useFormat();
  const { nameOf } = useKindTexts();
  const limits = Object.entries(JSON.parse(info.limits) as Record<string, number>);
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2">{t('admin.settings.hub')}</Header>}>
        <KeyValuePairs
          columns={3}
          items={[
            { label: t('admin.settings.version'), value: info.version },
            {
              label: t('admin.settings.platform'),
              value: t(`admin.settings.platforms.${info.platform as 'local'}`, {
                defaultValue: info.platform,
              }),
            },
            {
              label: t('admin.settings.plugins'),
              value: new Intl.ListFormat(locale).format(info.plugins.map(nameOf)),
            },
            { label: t('admin.settings.issuer'), value: <Copyable text={info.issuer} /> },
            {
              label: t('nav.users'),
              value: (
                <PageLink to="/users">
                  {info.users === null
                    ? t('admin.settings.usersElsewhere')
                    : t('admin.settings.users', { count: info.users })}
                </PageLink>
              ),
            },
            ...limits.map(([name, value]) => ({
              label: t(`admin.settings.limit.${name as 'tasks'}`, { defaultValue: name }),
              value: number(value),
            })),
          ]}
        />
      </Container>
      <Container
        header={
          <Header
            variant="h2"
            description={t('admin.settings.keyHint')}
            info={
              <InfoLink
                title={t('admin.settings.key')}
                body={
                  <>
                    <p>{t('admin.settings.keyHelp')}</p>
                    <Copyable
                      code
                      text={`dth verify-certificate certificate.json --public-key ${info.certificateKey}`}
                    />
                  </>
                }
              />
            }
          >
            {t('admin.settings.key')}
          </Header>
        }
      >
        <Copyable text={info.certificateKey} />
      </Container>
    </SpaceBetween>
  );
}

function Addresses() {
  const { t } = useTranslation();
  return (
    <Container header={<Header variant="h2">{t('admin.settings.addresses')}</Header>}>
      <KeyValuePairs
        columns={2}
        items={[
          {
            label: t('admin.settings.api'),
            value: <Copyable text={`${location.origin}/graphql`} />,
          },
          {
            label: t('admin.settings.metrics'),
            value: <Copyable text={`${location.origin}/metrics`} />,
          },
          {
            label: t('admin.settings.health'),
            value: <Copyable text={`${location.origin}/readyz`} />,
          },
          {
            label: t('admin.settings.forPrograms'),
            value: <PageLink to="/tokens">{t('nav.tokens')}</PageLink>,
          },
        ]}
      />
    </Container>
  );
}

// As dth.compose.local.server.Settings reads it.
const SECTIONS = {
  issuer: `issuer:
  issuer: https://login.example.org/realms/main
  client_id: dth-console
  audience: data-transfer-hub
  role_claim: groups
  roles:
    Transfer Admins: admin`,
  smtp: `smtp:
  host: mail.example.org
  sender: hub@example.org
  port: 587
  security: starttls
  user: hub
  password_secret: smtp`,
  bounds: `bounds:
  tasks: 20
  workers: 8`,
} as const;

function HowToChange() {
  const { t } = useTranslation();
  return (
    <Container
      header={
        <Header variant="h2" description={t('admin.settings.changeHint')}>
          {t('admin.settings.change')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {(['issuer', 'smtp', 'bounds'] as const).map((section) => (
          <div key={section}>
            <Box variant="h3">{t(`admin.settings.section.${section}`)}</Box>
            <Box variant="p" padding={{ bottom: 'xs' }}>
              {t(`admin.settings.sectionHint.${section}`)}
            </Box>
            <Copyable text={SECTIONS[section]} code />
          </div>
        ))}
      </SpaceBetween>
    </Container>
  );
}

function Preferences() {
  const { t, i18n } = useTranslation();
  const dark = useDark();
  const languages = Object.entries(LANGUAGES).map(([value, label]) => ({ value, label }));
  return (
    <Container
      header={
        <Header variant="h2" description={t('admin.settings.consoleHint')}>
          {t('admin.settings.console')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <FormField label={t('admin.settings.theme')}>
          <SegmentedControl
            label={t('admin.settings.theme')}
            selectedId={dark ? 'dark' : 'light'}
            options={[
              { id: 'light', text: t('top.light') },
              { id: 'dark', text: t('top.dark') },
            ]}
            onChange={(event) => setDark(event.detail.selectedId === 'dark')}
          />
        </FormField>
        <FormField label={t('top.language')}>
          <Select
            selectedOption={languages.find(({ value }) => value === i18n.language) ?? null}
            options={languages}
            onChange={(event) => void changeLanguage(event.detail.selectedOption.value as Language)}
          />
        </FormField>
      </SpaceBetween>
    </Container>
  );
}
