import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { JobResultDocument, type TypedDocumentString } from '../api/generated';
import { nameOf, useApi } from '../api/hooks';

// Milliseconds between two looks at a job: short at first, as some are done in a moment.
const FIRST_PAUSE = 100;
const PAUSE = 500;

/** What a job of the hub finds out, once it has ended. */
export async function resultOf<V>(
  api: ReturnType<typeof useApi>,
  document: TypedDocumentString<{ job: { id: string } }, V>,
  variables: V,
  signal?: AbortSignal,
): Promise<string> {
  const { job } = await api.request(document, variables, signal);
  for (let pause = FIRST_PAUSE; ; pause = Math.min(PAUSE, pause * 2)) {
    const { getJob } = await api.request(JobResultDocument, { id: job.id }, signal);
    if (getJob.state === 'FAILED') throw new Error(getJob.error);
    if (getJob.state === 'DONE') return getJob.result;
    await new Promise((resolve) => setTimeout(resolve, pause));
    signal?.throwIfAborted();
  }
}

/**
 * What a job of the hub finds out. It runs when it is asked to, or by itself as soon as it is `automatic`; for other
 * variables than those it was asked about there is no result. Leaving the page ends the waiting.
 */
export function useJob<V>(
  document: TypedDocumentString<{ job: { id: string } }, V>,
  variables: V,
  automatic = false,
) {
  const api = useApi();
  const wanted = JSON.stringify(variables);
  const [asked, setAsked] = useState('');
  if (asked && asked !== wanted) setAsked(''); // what is typed back does not start it again
  const due = automatic || asked === wanted;
  const { data, error, isFetching, refetch } = useQuery<string, Error>({
    queryKey: [nameOf(document), wanted],
    queryFn: ({ signal }) => resultOf(api, document, variables, signal),
    enabled: due,
    gcTime: 0,
    staleTime: 0,
    retry: false,
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
  });
  return {
    run: () => (due ? void refetch() : setAsked(wanted)),
    running: isFetching,
    result: due && !isFetching ? data : undefined,
    error: due && !isFetching ? error : null,
  };
}
