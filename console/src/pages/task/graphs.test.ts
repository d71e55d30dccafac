import { expect, test } from 'vitest';
import { rowsOf, seriesOf } from './graphs';

const GRAPH = {
  xaxis: { categories: [10, 20, 30, 40] },
  series: [
    { name: 'BytesReceived', data: [1, null, 3, 4] },
    { name: 'BytesSent', data: [null, null, 5, null] },
  ],
};

test('where nothing was measured the line breaks', () => {
  expect(seriesOf(GRAPH).map(({ stretches }) => stretches)).toEqual([
    [
      [{ at: 10, value: 1 }],
      [
        { at: 30, value: 3 },
        { at: 40, value: 4 },
      ],
    ],
    [[{ at: 30, value: 5 }]],
  ]);
  expect(seriesOf(null)).toEqual([]);
});

test('a table has the newest first, and no empty rows', () => {
  expect(rowsOf(seriesOf(GRAPH))).toEqual([
    { at: 40, values: [4, null] },
    { at: 30, values: [3, 5] },
    { at: 10, values: [1, null] },
  ]);
});
