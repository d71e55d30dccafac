import { useCallback, useEffect, useRef, useState } from 'react';
import { TaskLogEventsDocument, type TaskLogEventsQueryVariables } from '../../api/generated';
import type { Api } from '../../api/client';
import { useApi } from '../../api/hooks';

export interface LogEvent {
  id: number;
  at: number; // epoch milliseconds
  message: string;
}

/** Which log, and which of its events. */
export type Wanted = Pick<
  TaskLogEventsQueryVariables,
  'logGroupName' | 'logStreamName' | 'search' | 'startTime' | 'endTime'
>;

interface Log {
  /** False until the first page is here. */
  loaded: boolean;
  events: LogEvent[];
  backward: string;
  forward: string;
  atBeginning: boolean;
  /** The oldest ones were discarded: going back from here would leave a hole. */
  cut: boolean;
}

const PAGE = 200;
const KEPT = 5_000; // events on the screen
const WALK = 1_000; // events that a download asks for at once
export const MOST = 10_000; // events of a download
const NOTHING: Log = { loaded: false, events: [], backward: '', forward: '', atBeginning: false, cut: false };

let count = 0; // of events ever read: their ids, by which lines stay in place when older ones come

async function page(api: Api, wanted: Wanted, nextToken: string, limit: number) {
  const { getLogEvents } = await api.request(TaskLogEventsDocument, {
    ...wanted,
    limit,
    ...(nextToken ? { nextToken } : {}),
  });
  return {
    forward: getLogEvents?.nextForwardToken ?? '',
    backward: getLogEvents?.nextBackwardToken ?? '',
    events: (getLogEvents?.logEvents ?? []).flatMap((event) =>
      event ? [{ id: ++count, at: Number(event.timestamp), message: event.message ?? '' }] : [],
    ),
  };
}

/**
 * A log, from its newest events on: older ones on demand, newer ones too, or by themselves every so many milliseconds.
 * For another log, or another search, mount it again.
 */
export function useLog(wanted: Wanted, every: number | null) {
  const api = useApi();
  const [question] = useState(wanted);
  const [log, setLog] = useState(NOTHING);
  const [busy, setBusy] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const asking = useRef(false);

  /** One request at a time: two answers to one token would show its events twice. */
  const ask = useCallback(
    async (token: string, taken: (log: Log, found: Awaited<ReturnType<typeof page>>) => Log) => {
      if (asking.current) return;
      asking.current = true;
      setBusy(true);
      try {
        const found = await page(api, question, token, PAGE);
        setLog((log) => taken(log, found));
        setError(null);
      } catch (error) {
        setError(error);
      }
      asking.current = false;
      setBusy(false);
    },
    [api, question],
  );

  const load = useCallback(
    () => ask('', (_, found) => ({ ...found, loaded: true, atBeginning: false, cut: false })),
    [ask],
  );
  const { backward, forward } = log;
  const older = () =>
    ask(backward, (log, found) => {
      if (log.backward !== backward) return log; // they are here already
      const events = [...found.events, ...log.events];
      return { ...log, events, backward: found.backward, atBeginning: found.backward === backward };
    });
  const newer = useCallback(async () => {
    if (!forward) return;
    await ask(forward, (log, found) => {
      if (log.forward !== forward) return log;
      const events = [...log.events, ...found.events];
      return {
        ...log,
        events: events.slice(-KEPT),
        forward: found.forward,
        cut: log.cut || events.length > KEPT,
      };
    });
  }, [ask, forward]);

  useEffect(() => {
    const timer = setTimeout(() => void load());
    return () => clearTimeout(timer);
  }, [load]);

  useEffect(() => {
    if (every === null) return;
    const timer = setInterval(() => {
      if (!document.hidden) void newer();
    }, every);
    return () => clearInterval(timer);
  }, [every, newer]);

  return { ...log, busy, error, load, older, newer };
}

/** Every event, oldest first; `cut` where there are more than `MOST`, of which the newest were taken. */
export async function wholeLog(api: Api, wanted: Wanted): Promise<{ events: LogEvent[]; cut: boolean }> {
  const pages: LogEvent[][] = [];
  let taken = 0;
  let token = '';
  for (;;) {
    const found = await page(api, wanted, token, Math.min(WALK, MOST - taken));
    pages.unshift(found.events);
    taken += found.events.length;
    if (!found.backward || found.backward === token) return { events: pages.flat(), cut: false };
    if (taken >= MOST) return { events: pages.flat(), cut: true };
    token = found.backward;
  }
}
