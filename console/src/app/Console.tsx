import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import type { UserManager } from 'oidc-client-ts';
import { useMemo } from 'react';
import { RouterProvider } from 'react-router';
import { ApiError, createApi } from '../api/client';
import { ApiContext } from '../api/hooks';
import type { Config } from './config';
import { FlashProvider } from './flash';
import { createRouter } from './routes';

/** The console of one who is signed in. */
export function Console({ config, manager }: { config: Config; manager: UserManager }) {
  const api = useMemo(() => createApi(config.graphqlEndpoint, manager), [config, manager]);
  const router = useMemo(() => createRouter(), []);
  const queries = useMemo(
    () =>
      new QueryClient({
        defaultOptions: {
          queries: {
            retry: (count, error) => count < 2 && error instanceof ApiError && error.passing,
            staleTime: 1_000,
          },
        },
      }),
    [],
  );
  return (
    <ApiContext value={api}>
      <QueryClientProvider client={queries}>
        <FlashProvider>
          <RouterProvider router={router} />
        </FlashProvider>
      </QueryClientProvider>
    </ApiContext>
  );
}
