import type { Run } from './ledger';

/** What the hub itself did to a task, by the name in the audit log (`dth.hub.audit`). */
export const BY_HUB = {
  pausedByHub: 'pause',
  windowClosed: 'pause',
  windowOpened: 'restart',
  continuedAfterRestart: 'restart',
  failedByHub: 'fail',
} as const;

/** What happened to a task: what users did, and what the hub did. */
export const MARKERS = {
  ...BY_HUB,
  pauseTask: 'pause',
  resumeTask: 'restart',
  startRun: 'restart',
  retryFailed: 'retry',
  redriveDeadLetters: 'retry',
  editTask: 'edit',
  stopTask: 'stop',
} as const;
export type Marker = (typeof MARKERS)[keyof typeof MARKERS];

/** Why the hub did it; "" where it said nothing, or a user did it. */
export function reasonOf({ what, detail }: { what: string; detail: string }): string {
  if (!(what in BY_HUB)) return '';
  const { reason } = JSON.parse(detail) as { reason?: string };
  return reason ?? '';
}

export const HOUR = 3_600_000; // milliseconds
export const RANGES = {
  hour: HOUR,
  day: 24 * HOUR,
  week: 7 * 24 * HOUR,
  month: 30 * 24 * HOUR,
  all: Infinity,
} as const;
export type Range = keyof typeof RANGES;

export interface Span {
  run: Run;
  from: number;
  to: number;
}

/** The runs that have begun, oldest first, in epoch milliseconds; one that goes on ends now. */
export function spansOf(runs: readonly Run[], now: number): Span[] {
  return runs
    .flatMap((run) =>
      run.startedAt
        ? [{ run, from: Date.parse(run.startedAt), to: run.endedAt ? Date.parse(run.endedAt) : now }]
        : [],
    )
    .toSorted((one, other) => one.from - other.from);
}

/** The shortest range that has all of the last run. */
export function usualRange(spans: readonly Span[], now: number): Range {
  const last = spans.at(-1)?.from ?? now;
  return (Object.keys(RANGES) as Range[]).find((range) => now - last <= RANGES[range]) ?? 'all';
}

/** Runs may overlap: each lane has those that do not. */
export function lanesOf(spans: readonly Span[]): Span[][] {
  const lanes: Span[][] = [];
  for (const span of spans) {
    const free = lanes.find((lane) => (lane.at(-1)?.to ?? 0) <= span.from);
    if (free) free.push(span);
    else lanes.push([span]);
  }
  return lanes;
}
