import { useCallback, useEffect, useRef, useState } from 'react';
import { TaskLogEventsDocument, type TaskLogEventsQueryVariables } from '../../api/generated';
import type { Api } from '../../api/client';
import { useApi } from '../../api/hooks';

export interface LogEvent {
  id: number;
  at: number; // epoch milliseconds
  message: string;
  /** The process that wrote it. */
  stream: string;
}

/** Which log, and which of its events. */
export type Wanted = Pick<
  TaskLogEventsQueryVariables,
  'logGroupName' | 'logStreamName' | 'logStreamNamePrefix' | 'level' | 'search' | 'startTime' | 'endTime'
>;

interface Log {
  /** False until the first page is here. */
  loaded: boolean;
  events: LogEvent[];
  backward: string;
  forward: string;
  atBeginning: boolean;
  /** The hub's platform does not read backwards here: the first page is as old as the log is shown. */
  onlyForward: boolean;
  /** The oldest ones were discarded: going back from here would leave a hole. */
  cut: boolean;
}

const PAGE = 200;
const KEPT = 5_000; // events on the screen
const WALK = 1_000; // events that a download asks for at once
export const MOST = 10_000; // events of a download
const LOOKS = 20; // pages in a row that may be empty: of a long log, each request reads a part
const NOTHING: Log = {
  loaded: false,
  events: [],
  backward: '',
  forward: '',
  atBeginning: false,
  onlyForward: false,
  cut: false,
};

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
      event
        ? [
            {
              id: ++count,
              at: Number(event.timestamp),
              message: event.message ?? '',
              stream: event.logStreamName ?? '',
            },
          ]
        : [],
    ),
  };
}
type Way = 'forward' | 'backward';
/** `isLast`: there is nothing further this way. */
type Page = Awaited<ReturnType<typeof page>> & { isLast: boolean };

/** The first page with events from a token on; an empty one where there is none. */
async function filled(api: Api, wanted: Wanted, token: string, way: Way): Promise<Page> {
  const first = await page(api, wanted, token, PAGE);
  const to = first.backward ? way : 'forward';
  let [found, from] = [first, token];
  for (let looks = 0; looks < LOOKS && !found.events.length && found[to] !== from; looks++) {
    from = found[to];
    found = await page(api, wanted, from, PAGE);
  }
  // The page that was asked for is where newer events begin.
  const forward = to === 'backward' ? first.forward : found.forward;
  return { ...found, forward, isLast: found[to] === from };
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
    async (token: string, way: Way, taken: (log: Log, found: Page) => Log) => {
      if (asking.current) return;
      asking.current = true;
      setBusy(true);
      try {
        const found = await filled(api, question, token, way);
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
    () =>
      ask('', 'backward', (_, found) => ({
        ...found,
        loaded: true,
        atBeginning: Boolean(found.backward) && found.isLast,
        onlyForward: !found.backward,
        cut: false,
      })),
    [ask],
  );
  const { backward, forward } = log;
  const older = () =>
    ask(backward, 'backward', (log, found) => {
      if (log.backward !== backward) return log; // they are here already
      const events = [...found.events, ...log.events];
      return { ...log, events, backward: found.backward, atBeginning: found.isLast };
    });
  const newer = useCallback(async () => {
    if (!forward) return;
    await ask(forward, 'forward', (log, found) => {
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

/**
 * Every event, oldest first; `cut` where there are more than `MOST`. Those that were taken are the newest, or the oldest
 * where the platform only reads forward.
 */
export async function wholeLog(api: Api, wanted: Wanted): Promise<{ events: LogEvent[]; cut: boolean }> {
  let pages: LogEvent[][] = [];
  let taken = 0;
  let token = '';
  for (;;) {
    const { events, backward, forward } = await page(api, wanted, token, Math.min(WALK, MOST - taken));
    pages = backward ? [events, ...pages] : [...pages, events];
    taken += events.length;
    const next = backward || forward;
    if (!next || next === token) return { events: pages.flat(), cut: false };
    if (taken >= MOST) return { events: pages.flat(), cut: true };
    token = next;
  }
}
