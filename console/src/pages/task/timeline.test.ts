import { expect, test } from 'vitest';
import type { Run } from './ledger';
import { lanesOf, spansOf, usualRange } from './timeline';

const DAY = 86_400_000;
const run = (id: number, from: number | null, to: number | null) =>
  ({
    id,
    startedAt: from === null ? null : new Date(from).toISOString(),
    endedAt: to === null ? null : new Date(to).toISOString(),
  }) as Run;

test('the runs that have begun, oldest first; one that goes on ends now', () => {
  const spans = spansOf([run(3, null, null), run(2, 20, null), run(1, 5, 10)], 100);
  expect(spans.map(({ run: { id }, from, to }) => [id, from, to])).toEqual([
    [1, 5, 10],
    [2, 20, 100],
  ]);
});

test('runs that overlap stand in lanes of their own', () => {
  const spans = spansOf([run(1, 0, 10), run(2, 5, 20), run(3, 10, 12), run(4, 11, 13)], 100);
  expect(lanesOf(spans).map((lane) => lane.map((span) => span.run.id))).toEqual([[1, 3], [2], [4]]);
});

test('the range has the whole last run', () => {
  const now = 1000 * DAY;
  const usual = (ago: number) => usualRange(spansOf([run(1, now - ago, now)], now), now);
  expect([usual(60_000), usual(DAY / 2), usual(2 * DAY), usual(20 * DAY), usual(100 * DAY)]).toEqual([
    'hour',
    'day',
    'week',
    'month',
    'all',
  ]);
});
