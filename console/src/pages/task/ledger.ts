import type { TaskRunsQuery } from '../../api/generated';

export type Run = TaskRunsQuery['listRuns'][number];
export type Counts = Run['counts'];

/** Enqueued, and neither done nor given up yet. */
export const open = (counts: Counts) => counts.enqueued - counts.done - counts.failed - counts.cancelled;

/** Deletions that are not settled yet. */
export const openDeletes = (counts: Counts) =>
  counts.delete_enqueued - counts.deleted - counts.delete_kept - counts.delete_failed;

/** What a ledger says of itself. Only a comparison lists: retries and events begin with what is enqueued. */
export function balance(run: Run): 'listing' | 'moving' | 'balanced' | 'broken' | 'off' {
  const { counts, kind, state } = run;
  const parts = counts.filtered + counts.same + counts.archived + counts.pending + counts.enqueued;
  if (state === 'LISTING' && kind === 'sync') return 'listing';
  const unsettled = [open(counts), openDeletes(counts)];
  const missing = kind === 'sync' && state !== 'FAILED' && counts.listed !== parts;
  if (missing || unsettled.some((count) => count < 0)) return 'off';
  if (unsettled.every((count) => count === 0)) return state === 'FAILED' ? 'broken' : 'balanced';
  return state === 'DONE' ? 'off' : 'moving';
}
