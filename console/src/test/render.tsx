import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render } from '@testing-library/react';
import { createMemoryRouter, RouterProvider, type RouteObject } from 'react-router';
import type { Api } from '../api/client';
import type { Role } from '../api/generated';
import { ApiContext, nameOf } from '../api/hooks';
import { Flashes, FlashProvider } from '../app/flash';
import { HelpProvider } from '../app/help';
import { SessionContext } from '../app/session';

/** Answers by the name of the operation. */
export type Answers = Record<string, (variables: never) => unknown>;

/** Renders one page. The hub is a fake here: its real one is met by the browser tests. */
export function renderPage(route: RouteObject, at: string, answers: Answers, role: Role = 'admin') {
  const calls: { name: string; variables: unknown }[] = [];
  const api: Api = {
    async request(document, variables) {
      const name = nameOf(document);
      calls.push({ name, variables });
      const answer = answers[name];
      if (!answer) throw new Error(`no answer for ${name}`);
      return answer(variables as never) as never;
    },
    async send(path, bytes) {
      calls.push({ name: path, variables: bytes.size });
    },
  };
  const router = createMemoryRouter([route, { path: '*', element: <p>elsewhere</p> }], {
    initialEntries: [at],
  });
  const view = render(
    <ApiContext value={api}>
      <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
        <SessionContext value={{ name: 'tester', role }}>
          <FlashProvider>
            <HelpProvider>
              <Flashes />
              <RouterProvider router={router} />
            </HelpProvider>
          </FlashProvider>
        </SessionContext>
      </QueryClientProvider>
    </ApiContext>,
  );
  return { ...view, calls, router };
}
