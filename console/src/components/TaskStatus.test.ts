import { expect, test } from 'vitest';
import { percentDone } from './TaskStatus';

const one = { objects: 1, doneObjects: 0, failed: 0, listing: false, totalBytes: 1000, doneBytes: 0 };

test('one large object is on its way by its bytes', () => {
  expect(percentDone({ ...one, doneBytes: 437 })).toBe(43);
  expect(percentDone({ ...one, doneBytes: 1000 })).toBe(99);
  expect(percentDone({ ...one, doneObjects: 1, doneBytes: 1000 })).toBe(100);
});

test('empty objects count by their number, and nothing to copy is no percentage', () => {
  expect(percentDone({ ...one, objects: 4, doneObjects: 1, failed: 1, totalBytes: 0 })).toBe(50);
  expect(percentDone({ ...one, objects: 0 })).toBeNull();
  expect(percentDone(null)).toBeNull();
});
