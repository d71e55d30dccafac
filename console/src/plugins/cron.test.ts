import { expect, test } from 'vitest';
import { isCron, nextRuns } from './cron';

const AFTER = Date.UTC(2026, 0, 30, 12, 30); // a Friday

const next = (text: string) =>
  nextRuns(text, AFTER, 3, 'UTC').map((at) => new Date(at).toISOString().slice(0, 16));

test.each([
  ['0/60 * * * ? *', ['2026-01-30T13:00', '2026-01-30T14:00', '2026-01-30T15:00']],
  ['*/20 12 * * ? *', ['2026-01-30T12:40', '2026-01-31T12:00', '2026-01-31T12:20']],
  ['0 20 ? * MON-FRI *', ['2026-01-30T20:00', '2026-02-02T20:00', '2026-02-03T20:00']],
  ['0 0 ? * FRI-MON *', ['2026-01-31T00:00', '2026-02-01T00:00', '2026-02-02T00:00']],
  ['cron(5,10 0 1 JAN,jul ? 2026-2028/2)', ['2026-07-01T00:05', '2026-07-01T00:10', '2028-01-01T00:05']],
  ['0 0 29 2 ? *', ['2028-02-29T00:00', '2032-02-29T00:00']],
  ['0 0 1 1 ? 2020', []],
])('%s', (text, expected) => {
  expect(isCron(text)).toBe(true);
  expect(next(text)).toEqual(expected);
});

// The same moments as those of the hub, in tests/unit/test_schedule.py.
test.each([
  ['0 3 * * ? *', 'Europe/Berlin', '2026-03-28', ['03-28T02:00', '03-29T01:00']],
  // Skipped, and shown twice.
  ['30 2 * * ? *', 'Europe/Berlin', '2026-03-28', ['03-28T01:30', '03-30T00:30']],
  ['30 2 * * ? *', 'Europe/Berlin', '2026-10-24', ['10-24T00:30', '10-25T00:30', '10-26T01:30']],
  ['0 * * * ? *', 'Europe/Berlin', '2026-10-24T23:30', ['10-25T00:00', '10-25T02:00']],
  ['0 * * * ? *', 'Europe/Berlin', '2026-10-25T01:30', ['10-25T02:00', '10-25T03:00']],
  ['0/30 1-2 * * ? *', 'Australia/Lord_Howe', '2026-04-04T14:45', ['04-04T15:30', '04-04T16:00']],
  ['0 0 * * ? *', 'Africa/Cairo', '2026-04-22', ['04-22T22:00', '04-24T21:00']],
])('%s in %s after %s', (text, zone, after, expected) => {
  const found = nextRuns(
    text,
    Date.parse(`${after}${after.includes('T') ? '' : 'T00:00'}Z`),
    expected.length,
    zone,
  );
  expect(found.map((at) => new Date(at).toISOString().slice(5, 16))).toEqual(expected);
});

test.each(['0 0 L * ? *', '0 0 15W * ? *', '0 0 ? * 6L *', '0 0 ? * 6#3 *'])(
  'only the hub reckons %s',
  (text) => {
    expect(isCron(text)).toBe(true);
    expect(next(text)).toEqual([]);
  },
);

test.each([
  '',
  '* * * * *',
  '0 0 * * * *',
  '0 0 ? * ? *',
  '60 * * * ? *',
  '* 5/0 * * ? *',
  'a * * * ? *',
  '1, * * * ? *',
])('%j is none', (text) => expect(isCron(text)).toBe(false));
