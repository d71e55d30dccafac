import {
  keepPreviousData,
  useMutation,
  useQuery,
  useQueryClient,
  type UseQueryOptions,
} from '@tanstack/react-query';
import { createContext, useContext } from 'react';
import type { Api } from './client';
import type { TypedDocumentString } from './generated';

export const ApiContext = createContext<Api | null>(null);

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error('no ApiContext above');
  return api;
}

/** The name of a document's operation, by which answers are cached and discarded. */
export function nameOf(document: { toString(): string }): string {
  return /(?:query|mutation)\s+(\w+)/.exec(document.toString())?.[1] ?? '';
}

type Options<R> = Omit<UseQueryOptions<R>, 'queryKey' | 'queryFn'>;

/**
 * What a query answers. While it is asked again with other variables, the answer before stays: pages do not flicker.
 * A page that nobody looks at asks nothing.
 */
export function useData<R, V>(document: TypedDocumentString<R, V>, variables: V, options: Options<R> = {}) {
  const api = useApi();
  return useQuery<R>({
    queryKey: [nameOf(document), variables],
    queryFn: ({ signal }) => api.request(document, variables, signal),
    placeholderData: keepPreviousData as never,
    ...options,
  });
}

/** A mutation; when it is through, what the named queries answered is asked again. Without names: everything. */
export function useChange<R, V>(document: TypedDocumentString<R, V>, stale?: { toString(): string }[]) {
  const api = useApi();
  const queries = useQueryClient();
  return useMutation<R, Error, V>({
    gcTime: 0, // passwords and new tokens are not kept
    mutationFn: (variables) => api.request(document, variables),
    onSettled: () =>
      stale
        ? Promise.all(stale.map((each) => queries.invalidateQueries({ queryKey: [nameOf(each)] })))
        : queries.invalidateQueries(),
  });
}
