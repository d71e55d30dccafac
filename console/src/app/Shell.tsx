import AppLayoutToolbar from '@cloudscape-design/components/app-layout-toolbar';
import SideNavigation, { type SideNavigationProps } from '@cloudscape-design/components/side-navigation';
import TopNavigation from '@cloudscape-design/components/top-navigation';
import { lazy, Suspense, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAuth } from 'react-oidc-context';
import { Outlet, useLocation, useMatches, useNavigate, useNavigation } from 'react-router';
import { WhoAmIDocument } from '../api/generated';
import { useData } from '../api/hooks';
import { Empty } from '../components/Empty';
import { ErrorAlert } from '../components/ErrorAlert';
import { changeLanguage, LANGUAGES, type Language } from '../i18n';
import { Flashes } from './flash';
import type { Handle } from './handle';
import { HelpProvider, Panel, useHelp } from './help';
import { PAGES } from './pages';
import { SessionContext, useSession } from './session';
import { signOut } from './signIn';
import { setDark, useDark } from './theme';
import { Trail } from './Trail';
import { Waiting } from './Waiting';

/** Pages that a large screen does not widen: lines of a form are read. */
const FORMS: ReadonlySet<Handle['crumb']> = new Set([
  'create',
  'quick',
  'edit',
  'compare',
  'settings',
  'backups',
]);

const wide = () => matchMedia('(min-width: 1000px)').matches;

/** What is round every page: the bar at the top, the navigation, the trail, messages, help. */
export function Shell() {
  const who = useData(WhoAmIDocument, {}, { staleTime: 60_000 });
  if (who.error) return <ErrorAlert error={who.error} retry={() => void who.refetch()} />;
  if (!who.data) return <Waiting />;
  return (
    <SessionContext value={who.data.whoAmI}>
      <HelpProvider>
        <Frame />
      </HelpProvider>
    </SessionContext>
  );
}

const Jump = lazy(async () => ({ default: (await import('./Jump')).Jump }));

/** The search for tasks and pages opens from everywhere, by its button or Ctrl-K. */
function Frame() {
  const [jumping, setJumping] = useState(false);
  useEffect(() => {
    function onKey(event: KeyboardEvent) {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault(); // a browser's own search
      setJumping(true);
    }
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
  return (
    <>
      <TopBar onJump={() => setJumping(true)} />
      <Layout />
      {jumping && (
        <Suspense fallback={null}>
          <Jump onClose={() => setJumping(false)} />
        </Suspense>
      )}
    </>
  );
}

function TopBar({ onJump }: { onJump: () => void }) {
  const { t, i18n } = useTranslation();
  const dark = useDark();
  const navigate = useNavigate();
  const session = useSession();
  const auth = useAuth();
  const language = LANGUAGES[i18n.language as Language];
  return (
    <div id="top" className="dth-top">
      <TopNavigation
        identity={{
          href: '/',
          title: t('common.title'),
          logo: { src: '/favicon.svg', alt: '' },
          onFollow: (event) => {
            event.preventDefault();
            void navigate('/');
          },
        }}
        i18nStrings={{ overflowMenuTriggerText: t('top.menu'), overflowMenuTitleText: t('top.menu') }}
        utilities={[
          {
            type: 'button',
            iconName: 'search',
            text: t('top.jump'),
            title: t('top.jumpKey'),
            onClick: onJump,
          },
          {
            type: 'button',
            text: dark ? t('top.light') : t('top.dark'),
            onClick: () => setDark(!dark),
          },
          {
            type: 'menu-dropdown',
            text: language,
            ariaLabel: `${t('top.language')}: ${language}`,
            items: Object.entries(LANGUAGES).map(([id, text]) => ({ id, text })),
            onItemClick: (event) => void changeLanguage(event.detail.id as Language),
          },
          {
            type: 'menu-dropdown',
            iconName: 'user-profile',
            text: session.name,
            title: session.name,
            description: t('top.role', { role: t(`role.${session.role}`) }),
            ariaLabel: t('top.user', { name: session.name }),
            items: [{ id: 'sign-out', text: t('top.signOut') }],
            onItemClick: () => void signOut(auth),
          },
        ]}
      />
    </div>
  );
}

function Layout() {
  const { t } = useTranslation();
  const help = useHelp();
  const session = useSession();
  const loading = useNavigation().state === 'loading';
  const [navigationOpen, setNavigationOpen] = useState(wide);
  const handle = useMatches().findLast((match) => match.handle)?.handle as Handle | undefined;
  const allowed = !handle?.role || session.may(handle.role);
  return (
    <AppLayoutToolbar
      headerSelector="#top"
      {...(handle && FORMS.has(handle.crumb) ? {} : { maxContentWidth: Number.MAX_VALUE })}
      ariaLabels={{
        navigation: t('nav.label'),
        navigationToggle: t('nav.open'),
        navigationClose: t('nav.close'),
        tools: t('help.title'),
        toolsToggle: t('help.open'),
        toolsClose: t('help.close'),
      }}
      navigationOpen={navigationOpen}
      onNavigationChange={(event) => setNavigationOpen(event.detail.open)}
      navigation={<Navigation onFollow={() => setNavigationOpen(wide())} />}
      toolsOpen={help.open}
      onToolsChange={(event) => help.setOpen(event.detail.open)}
      tools={<Panel />}
      breadcrumbs={<Trail />}
      notifications={<Flashes />}
      content={
        loading ? (
          <Waiting />
        ) : allowed ? (
          <Outlet />
        ) : (
          <Empty
            heading
            title={t('common.forbidden')}
            hint={t('common.notAllowed', { role: t(`role.${handle?.role ?? 'admin'}`) })}
          />
        )
      }
    />
  );
}

function Navigation({ onFollow }: { onFollow: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const { may } = useSession();
  const links = (administration: boolean) =>
    PAGES.filter((each) => Boolean(each.administration) === administration)
      .filter((each) => !each.role || may(each.role))
      .map(({ page, href }) => ({ type: 'link', text: t(`nav.${page}`), href }) as const);
  const items: SideNavigationProps.Item[] = [
    ...links(false),
    { type: 'divider' },
    { type: 'section-group', title: t('nav.administration'), items: links(true) },
  ];
  const active = ['/tasks/create', '/tasks/quick'].includes(pathname)
    ? pathname
    : `/${pathname.split('/')[1] ?? ''}`;
  return (
    <SideNavigation
      items={items}
      activeHref={active}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(event.detail.href);
        onFollow();
      }}
    />
  );
}
