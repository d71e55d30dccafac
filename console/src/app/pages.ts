import type { Role } from '../api/generated';
import type { Handle } from './handle';

type Page = Exclude<Handle['crumb'], 'edit' | 'task' | 'comparison'>;

/** The pages that have an address of their own, for the navigation and the search. */
export const PAGES: readonly { page: Page; href: string; role?: Role; administration?: true }[] = [
  { page: 'home', href: '/' },
  { page: 'tasks', href: '/tasks' },
  { page: 'create', href: '/tasks/create', role: 'operator' },
  { page: 'quick', href: '/tasks/quick', role: 'operator' },
  { page: 'comparisons', href: '/comparisons' },
  { page: 'stores', href: '/stores' },
  { page: 'secrets', href: '/secrets', administration: true },
  { page: 'users', href: '/users', role: 'admin', administration: true },
  { page: 'tokens', href: '/tokens', role: 'admin', administration: true },
  { page: 'channels', href: '/channels', role: 'admin', administration: true },
  { page: 'signIn', href: '/sign-in', role: 'admin', administration: true },
  { page: 'settings', href: '/settings', role: 'admin', administration: true },
  { page: 'backups', href: '/backups', role: 'admin', administration: true },
  { page: 'audit', href: '/audit', role: 'admin', administration: true },
];
