import { expect, test } from 'vitest';
import { moved, rangeInAddress, readRange, spanOf, zoomed } from './timeRange';

const NOW = 1_700_000_000;

test('a range stands in the address', () => {
  for (const range of [{ last: '3d' } as const, { from: 1_699_990_000, to: NOW }])
    expect(readRange(new URLSearchParams(rangeInAddress(range)))).toEqual(range);
});

test('what cannot be is the last hour', () => {
  for (const address of ['', 'range=2y', 'from=5&to=4', 'from=a&to=b', 'range=toString', 'from=-1&to=5'])
    expect(readRange(new URLSearchParams(address))).toEqual({ last: '1h' });
  expect(spanOf({ last: '1h' }, NOW)).toEqual({ from: NOW - 3600, to: NOW });
});

test('zooming keeps the middle, ends now, and does not go below a minute', () => {
  const span = { from: NOW - 4000, to: NOW - 2000 };
  expect(zoomed(span, 0.5, NOW)).toEqual({ from: NOW - 3500, to: NOW - 2500 });
  expect(zoomed({ from: NOW - 3600, to: NOW }, 2, NOW)).toEqual({ from: NOW - 7200, to: NOW });
  expect(zoomed({ from: NOW - 60, to: NOW }, 0.5, NOW)).toEqual({ from: NOW - 60, to: NOW });
});

test('moving keeps the length', () => {
  const span = { from: NOW - 1000, to: NOW };
  expect(moved(span, -1, NOW)).toEqual({ from: NOW - 1500, to: NOW - 500 });
  expect(moved(span, 1, NOW)).toEqual(span);
});
