import { createBrowserRouter, Navigate, type RouteObject } from 'react-router';
import type { Role } from '../api/generated';
import { NotFound, PageError } from './PageError';
import type { Handle } from './handle';
import { Shell } from './Shell';

const handle = (crumb: Handle['crumb'], role?: Role): Handle => (role ? { crumb, role } : { crumb });

/** Every page is a file of its own that is loaded when it is first opened. */
export const pages: RouteObject[] = [
  {
    index: true,
    handle: handle('home'),
    lazy: async () => ({ Component: (await import('../pages/Home')).Home }),
  },
  { path: 'auth/callback', element: <Navigate to="/" replace /> },
  {
    path: 'tasks',
    handle: handle('tasks'),
    children: [
      { index: true, lazy: async () => ({ Component: (await import('../pages/tasks/Tasks')).Tasks }) },
      {
        path: 'create',
        handle: handle('create', 'operator'),
        lazy: async () => ({ Component: (await import('../pages/create/CreateTask')).CreateTask }),
      },
      {
        path: 'quick',
        handle: handle('quick', 'operator'),
        lazy: async () => ({ Component: (await import('../pages/create/QuickTask')).QuickTask }),
      },
      {
        path: ':id',
        handle: handle('task'),
        children: [
          {
            index: true,
            lazy: async () => ({ Component: (await import('../pages/task/TaskDetail')).TaskDetail }),
          },
          {
            path: 'edit',
            handle: handle('edit', 'operator'),
            lazy: async () => ({ Component: (await import('../pages/create/CreateTask')).EditTask }),
          },
        ],
      },
    ],
  },
  {
    path: 'comparisons',
    handle: handle('comparisons'),
    children: [
      {
        index: true,
        lazy: async () => ({ Component: (await import('../pages/compare/Comparisons')).Comparisons }),
      },
      {
        path: 'create',
        handle: handle('compare', 'operator'),
        lazy: async () => ({
          Component: (await import('../pages/compare/StartComparison')).StartComparison,
        }),
      },
      {
        path: ':comparison',
        handle: handle('comparison'),
        lazy: async () => ({
          Component: (await import('../pages/compare/ComparisonDetail')).ComparisonDetail,
        }),
      },
    ],
  },
  {
    path: 'stores',
    handle: handle('stores'),
    lazy: async () => ({ Component: (await import('../pages/Stores')).Stores }),
  },
  {
    path: 'secrets',
    handle: handle('secrets'),
    lazy: async () => ({ Component: (await import('../pages/admin/Secrets')).Secrets }),
  },
  {
    path: 'users',
    handle: handle('users', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Users')).Users }),
  },
  {
    path: 'tokens',
    handle: handle('tokens', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Tokens')).Tokens }),
  },
  {
    path: 'channels',
    handle: handle('channels', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Channels')).Channels }),
  },
  {
    path: 'sign-in',
    handle: handle('signIn', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/SignIn')).SignIn }),
  },
  {
    path: 'settings',
    handle: handle('settings', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Settings')).Settings }),
  },
  {
    path: 'backups',
    handle: handle('backups', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Backups')).Backups }),
  },
  {
    path: 'audit',
    handle: handle('audit', 'admin'),
    lazy: async () => ({ Component: (await import('../pages/admin/Audit')).Audit }),
  },
  { path: '*', element: <NotFound /> },
];

export const createRouter = () =>
  createBrowserRouter([
    {
      path: '/',
      element: <Shell />,
      errorElement: <PageError />,
      HydrateFallback: () => null,
      children: [{ errorElement: <PageError />, children: pages }],
    },
  ]);
