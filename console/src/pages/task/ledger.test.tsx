import { screen } from '@testing-library/react';
import { expect, test } from 'vitest';
import { renderPage } from '../../test/render';
import { pluginOf } from '../../plugins/registry';
import { Ledger } from './Ledger';
import { balance, type Run } from './ledger';
import { run } from './testSamples';

const show = (of: Run, type = 'S3EC2') =>
  renderPage({ path: '/', element: <Ledger run={of} plugin={pluginOf(type)} /> }, '/', {});

test('a run that is done says its sums in words', () => {
  show(
    run({
      counts: {
        listed: 1234,
        filtered: 10,
        same: 1000,
        archived: 4,
        pending: 20,
        enqueued: 200,
        done: 197,
        failed: 2,
        cancelled: 1,
      },
    }),
  );
  expect(screen.getByText('The counts balance.')).toBeVisible();
  expect(
    screen.getByText(
      'Of 1,234 objects listed, 10 were filtered out, 1,000 were already the same, 4 are archived, 20 were in progress from an earlier run, and 200 were enqueued.',
    ),
  ).toBeVisible();
  expect(
    screen.getByText(/Of 200 enqueued, 197 are done, 2 failed and 1 were cancelled\. .* transferred\./),
  ).toBeVisible();
  expect(screen.queryByText('Deletes')).toBeNull();
});

test('while it transfers, what is in progress is counted', () => {
  const moving = run({ state: 'TRANSFERRING', counts: { listed: 5, enqueued: 5, done: 2 } });
  show(moving);
  expect(screen.getByText(/0 were cancelled; 3 are in progress\./)).toBeVisible();
  expect(balance(moving)).toBe('moving');
});

test('who verified the copies', () => {
  show(
    run({
      counts: { enqueued: 1010, done: 1010, verified_store: 1001, verified_etag: 5, verified_content: 1 },
    }),
  );
  expect(
    screen.getByText(
      "Verification of 1,010 copies: 1,001 by the store's checksum, 5 by MD5 ETag, 1 by reading them back, and 3 not verified.",
    ),
  ).toBeVisible();
  expect(screen.queryByText(/lack tags/)).toBeNull();
});

test('copies that all are verified, and some that lack tags', () => {
  show(run({ counts: { enqueued: 2, done: 2, verified_source: 2, incomplete: 1 } }));
  expect(screen.getByText("Verification of 2 copies: 2 by the source's checksum.")).toBeVisible();
  expect(screen.getByText(/^1 copies lack tags or metadata/)).toBeVisible();
});

test('of images nothing is said of verification', () => {
  show(run({ counts: { enqueued: 2, done: 2 } }), 'ECR');
  expect(screen.queryByText(/verif/i)).toBeNull();
});

test('deletes and remarks', () => {
  show(run({ counts: { delete_enqueued: 3, deleted: 2, delete_kept: 1, unproven: 7 } }));
  expect(
    screen.getByText(/Of 3 objects to delete at the destination, 2 were deleted, 1 were kept/),
  ).toBeVisible();
  expect(screen.getByText(/^7 of the objects that count as the same were compared by time/)).toBeVisible();
});

test('a ledger that does not balance says so', () => {
  expect(balance(run({ counts: { listed: 5, same: 4 } }))).toBe('off');
  expect(balance(run({ counts: { listed: 1, enqueued: 1 } }))).toBe('off'); // done, yet something is open
  expect(balance(run({ counts: { listed: 1, enqueued: 1, done: 2 } }))).toBe('off');
  expect(balance(run({ state: 'LISTING', counts: { listed: 5 } }))).toBe('listing');
  expect(balance(run({ kind: 'events', counts: { enqueued: 2, done: 2 } }))).toBe('balanced');
  expect(balance(run({ state: 'FAILED', counts: { listed: 9, enqueued: 2, done: 1 } }))).toBe('moving');
});
