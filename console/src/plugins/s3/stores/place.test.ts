import { expect, test } from 'vitest';
import { nameIn, placeIn, trailOf } from './place';

test.each([
  ['s3://photos/2026/', { bucket: 'photos', prefix: '2026/' }],
  [' s3://photos ', { bucket: 'photos', prefix: '' }],
  ['S3://photos/a b/c', { bucket: 'photos', prefix: 'a b/c' }],
  ['s3://photos//x', { bucket: 'photos', prefix: '/x' }],
  [
    's3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine/x/',
    { bucket: 'arn:aws:s3:eu-west-1:123456789012:accesspoint/mine', prefix: 'x/' },
  ],
  ['photos', null],
  ['photos/2026', null],
  ['s3://', null],
])('%s is the place %o', (text, place) => {
  expect(placeIn(text)).toEqual(place);
});

test('a prefix is walked up folder by folder', () => {
  expect(trailOf('a/b//c')).toEqual([
    { text: 'a', prefix: 'a/' },
    { text: 'b', prefix: 'a/b/' },
    { text: '', prefix: 'a/b//' },
  ]);
  expect(trailOf('')).toEqual([]);
  expect(nameIn('a/', 'a/b/')).toBe('b/');
});
