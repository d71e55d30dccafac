import { expect, test } from 'vitest';
import { amount, sizeText } from './size';

test('sizes are read and said as the hub does it', () => {
  expect(['16MiB', '16M', ' 1.5 g ', '100kb', '7'].map(amount)).toEqual([
    16777216, 16777216, 1610612736, 102400, 7,
  ]);
  expect(['', 'x', '-1', '1 PiB', '1,5M'].every((text) => Number.isNaN(amount(text)))).toBe(true);
  expect([0, 7, 1024, 5 * 1024 ** 2, 1025].map(sizeText)).toEqual(['0', '7', '1 KiB', '5 MiB', '1025']);
});
