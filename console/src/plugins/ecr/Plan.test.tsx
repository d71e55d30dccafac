import { screen, within } from '@testing-library/react';
import { expect, test } from 'vitest';
import { renderPage } from '../../test/render';
import { Plan, type PlanResult } from './Plan';

const item = (name: string, given: Partial<PlanResult['items'][number]> = {}) => ({
  source: `from/${name}`,
  destination: `to/${name}`,
  action: 'copy' as const,
  reason: '',
  size: 2048,
  bytes: 1024,
  ...given,
});
const NONE = { same: 0, copy: 0, along: 0, conflict: 0, missing: 0, refused: 0, unlisted: 0 };
const show = (given: Partial<PlanResult>) => {
  const plan = {
    items: [],
    repositories: [],
    counts: NONE,
    bytes: 0,
    size: 0,
    notes: [],
    left_out: 0,
    ...given,
  };
  renderPage({ path: '/', element: <Plan result={JSON.stringify(plan)} /> }, '/', {});
};
/** What stands below a label. */
const value = (label: string) => screen.getByText(label).closest('dt')!.nextElementSibling;

test('numbers first, then what is to be done', () => {
  show({
    items: [
      item('api:v1'),
      item('part', { action: 'along' }),
      item('web:v1', { action: 'conflict', reason: 'another image has the tag' }),
      item('base:v1', { action: 'same' }),
    ],
    repositories: ['to/api'],
    counts: { ...NONE, same: 7, copy: 1, along: 1, conflict: 1 },
    bytes: 1024,
    size: 3072,
    notes: ['lists tags only'],
  });
  expect(value('Bytes to transfer')).toHaveTextContent('1 KiB');
  expect(value('Bytes saved by shared layers')).toHaveTextContent('2 KiB');
  expect(value('Already there')).toHaveTextContent('7');
  expect(value('Cannot be copied')).toHaveTextContent('1');
  expect(value('Copied with other images')).toHaveTextContent('1');
  const table = within(screen.getByRole('table', { name: 'Images' }));
  expect(table.getAllByRole('row')).toHaveLength(4); // with the header; not what is there already
  expect(table.getByText('1 KiB of 2 KiB')).toBeVisible();
  expect(table.getByText('another image has the tag')).toBeVisible();
  expect(screen.getByText('Repositories to create: to/api')).toBeVisible();
  expect(screen.getByText('lists tags only')).toBeVisible();
});

test('a long plan: pages of it, and how many are not listed', () => {
  show({
    items: Array.from({ length: 25 }, (_, place) => item(`api:v${place}`)),
    counts: { ...NONE, same: 900, copy: 30 },
  });
  expect(screen.getAllByRole('row')).toHaveLength(11);
  expect(screen.getByText('and 5 more images')).toBeVisible();
});

test('bytes that are not known are not said to be none', () => {
  show({ items: [item('api:v1')], counts: { ...NONE, copy: 1 }, bytes: null, size: null });
  expect(screen.getAllByText('Not known')).toHaveLength(2);
  expect(screen.queryByText(/KiB of/)).toBeNull();
});

test('nothing to do', () => {
  show({ counts: { ...NONE, same: 3 } });
  expect(screen.getByText('There is nothing to copy.')).toBeVisible();
  expect(screen.queryByRole('table')).toBeNull();
});
