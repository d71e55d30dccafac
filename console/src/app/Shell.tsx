import AppLayoutToolbar from '@cloudscape-design/components/app-layout-toolbar';
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import SideNavigation, { type SideNavigationProps } from '@cloudscape-design/components/side-navigation';
import TopNavigation from '@cloudscape-design/components/top-navigation';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAuth } from 'react-oidc-context';
import { Outlet, useLocation, useMatches, useNavigate, useNavigation } from 'react-router';
import { type Role, WhoAmIDocument } from '../api/generated';
import { useData } from '../api/hooks';
import { Empty } from '../components/Empty';
import { ErrorAlert } from '../components/ErrorAlert';
import { changeLanguage, LANGUAGES, type Language } from '../i18n';
import { Flashes } from './flash';
import { HelpProvider, Panel, useHelp } from './help';
import { SessionContext, useSession } from './session';
import { signOut } from './signIn';
import { setDark, useDark } from './theme';
import { Waiting } from './Waiting';

/** What a page tells the shell of itself: its name in the trail, its help, and who may see it. */
export interface Handle {
  crumb:
    | 'home'
    | 'tasks'
    | 'create'
    | 'quick'
    | 'edit'
    | 'comparisons'
    | 'compare'
    | 'comparison'
    | 'stores'
    | 'secrets'
    | 'users'
    | 'tokens'
    | 'channels'
    | 'settings'
    | 'audit'
    | 'task';
  role?: Role;
}

const wide = () => matchMedia('(min-width: 1000px)').matches;

/** What is round every page: the bar at the top, the navigation, the trail, messages, help. */
export function Shell() {
  const who = useData(WhoAmIDocument, {}, { staleTime: 60_000 });
  if (who.error) return <ErrorAlert error={who.error} retry={() => void who.refetch()} />;
  if (!who.data) return <Waiting />;
  return (
    <SessionContext value={who.data.whoAmI}>
      <HelpProvider>
        <TopBar />
        <Layout />
      </HelpProvider>
    </SessionContext>
  );
}

function TopBar() {
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

/** From home to here, which the title of the window says as well. */
function Trail() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const matches = useMatches();
  const crumbs = [{ text: t('common.title'), href: '/' }];
  for (const match of matches) {
    const handle = match.handle as Handle | undefined;
    if (!handle || handle.crumb === 'home') continue;
    const text = handle.crumb === 'task' ? (match.params.id ?? '') : t(`nav.${handle.crumb}`);
    crumbs.push({ text, href: match.pathname });
  }
  const here = crumbs.length > 1 ? `${crumbs.at(-1)?.text} - ${t('common.title')}` : t('common.title');
  useEffect(() => {
    document.title = here;
  }, [here]);
  return (
    <BreadcrumbGroup
      ariaLabel={t('nav.crumbs')}
      items={crumbs}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(event.detail.href);
      }}
    />
  );
}

function Navigation({ onFollow }: { onFollow: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const { may } = useSession();
  const link = (
    page:
      | 'home'
      | 'tasks'
      | 'create'
      | 'quick'
      | 'comparisons'
      | 'stores'
      | 'secrets'
      | 'users'
      | 'tokens'
      | 'channels'
      | 'settings'
      | 'audit',
    href: string,
  ) => ({ type: 'link', text: t(`nav.${page}`), href }) as const;
  const administration = [
    link('secrets', '/secrets'),
    ...(may('admin')
      ? [
          link('users', '/users'),
          link('tokens', '/tokens'),
          link('channels', '/channels'),
          link('settings', '/settings'),
          link('audit', '/audit'),
        ]
      : []),
  ];
  const items: SideNavigationProps.Item[] = [
    link('home', '/'),
    link('tasks', '/tasks'),
    ...(may('operator') ? [link('create', '/tasks/create'), link('quick', '/tasks/quick')] : []),
    link('comparisons', '/comparisons'),
    link('stores', '/stores'),
    { type: 'divider' },
    { type: 'section-group', title: t('nav.administration'), items: administration },
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
