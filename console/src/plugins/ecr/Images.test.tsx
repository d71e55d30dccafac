import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { act, configure, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import type { Role } from '../../api/generated';
import { type Answers, renderPage } from '../../test/render';
import type { ImageRecord } from './imageColumns';
import { ANSWERS, ID, ROUTE, run, task } from '../../pages/task/testSamples';

configure({ asyncUtilTimeout: 5_000 }); // a tab's first opening loads its file

const DIGEST = `sha256:${'ab'.repeat(32)}`;

const image = (given: Partial<ImageRecord> = {}): ImageRecord => ({
  key: 'mirror/api:v1',
  status: 'DONE',
  source: 'registry/api:v1',
  sourceDigest: DIGEST,
  destDigest: DIGEST,
  size: 2048,
  moved: 1024,
  skipped: 1024,
  platforms: [],
  seconds: 1.26,
  attempts: 1,
  reason: '',
  detail: '',
  run: 1,
  endedAt: '2026-01-02T03:04:06.000Z',
  ...given,
});
const failed = image({
  key: 'mirror/api:v9',
  status: 'FAILED',
  sourceDigest: '',
  destDigest: '',
  reason: 'MANIFEST_UNKNOWN',
  detail: 'api:v9 is not there',
});

const open = (shown: string, answers: Answers = {}, role: Role = 'admin') =>
  renderPage(
    ROUTE,
    `/tasks/${ID}?tab=${shown}`,
    {
      ...ANSWERS,
      TaskDetail: () => ({ getTask: task({ type: 'ECR', progress: 'DONE', parameters: [] }) }),
      TaskImages: () => ({ listImages: { items: [image(), failed], nextToken: null } }),
      ...answers,
    },
    role,
  );
const table = async () => within(await screen.findByRole('table', { name: 'Images' }));

test('images: digests in short, bytes, filters and pages that the hub sees to', async () => {
  const asked = vi.fn(({ nextToken }: { nextToken: string | null }) => ({
    listImages: nextToken ? { items: [failed], nextToken: null } : { items: [image()], nextToken: 'x' },
  }));
  open('objects&status=DONE&run=1&prefix=mirror%2F', { TaskImages: asked });
  const images = await table();
  expect(await images.findByText(DIGEST.slice(0, 19))).toBeVisible();
  expect(images.queryByText(DIGEST)).toBeNull();
  expect(images.getByText('2 KiB')).toBeVisible();
  expect(images.getByText('1.3 s')).toBeVisible();
  const filters = { id: ID, status: 'DONE', run: 1, prefix: 'mirror/', reason: null, limit: 50 };
  expect(asked).toHaveBeenLastCalledWith({ ...filters, nextToken: null });
  await userEvent.click(createWrapper().findPagination()!.findNextPageButton().getElement());
  await images.findByText('MANIFEST_UNKNOWN');
  expect(asked).toHaveBeenLastCalledWith({ ...filters, nextToken: 'x' });
});

test('images that failed are tried again: some, those of a reason, all', async () => {
  const some = vi.fn(() => ({ retryFailed: { id: ID, progress: 'STARTING' } }));
  const all = vi.fn(() => ({ redriveDeadLetters: { id: ID, progress: 'STARTING' } }));
  const { router } = open('objects', { RetryFailed: some, RedriveDeadLetters: all });
  const images = await table();
  expect(await images.findByRole('checkbox', { name: 'Select mirror/api:v1' })).toBeDisabled();
  await userEvent.click(images.getByRole('checkbox', { name: 'Select mirror/api:v9' }));
  await userEvent.click(screen.getByRole('button', { name: 'Retry selected (1)' }));
  await waitFor(() => expect(some).toHaveBeenCalledWith({ id: ID, keys: ['mirror/api:v9'] }));
  await userEvent.click(screen.getByRole('button', { name: 'Retry all failed' }));
  await waitFor(() => expect(all).toHaveBeenCalledWith({ id: ID }));
  await act(() => router.navigate(`/tasks/${ID}?tab=objects&reason=MANIFEST_UNKNOWN`));
  await userEvent.click(await screen.findByRole('button', { name: /with this reason/ }));
  await waitFor(() => expect(some).toHaveBeenLastCalledWith({ id: ID, reason: 'MANIFEST_UNKNOWN' }));
});

test('the history of an image: what each run did with it', async () => {
  const asked = vi.fn(() => ({
    imageHistory: [image({ ...failed, run: 2 }), image({ key: failed.key, run: 1 })],
  }));
  open('objects', { TaskImageHistory: asked }, 'viewer');
  await userEvent.click(await screen.findByRole('button', { name: 'History of mirror/api:v9' }));
  const history = within(await screen.findByRole('table', { name: 'History' }));
  expect(await history.findByText('api:v9 is not there')).toBeVisible();
  expect(history.getAllByRole('row')).toHaveLength(3);
  expect(asked).toHaveBeenCalledWith({ id: ID, key: 'mirror/api:v9' });
  expect(screen.queryByRole('button', { name: /Retry/ })).toBeNull();
});

test('a task of images speaks of images, and has no events', async () => {
  open('overview', {
    TaskRuns: () => ({ listRuns: [run({ counts: { listed: 3, same: 1, enqueued: 2, done: 2 } })] }),
  });
  expect(await screen.findByText('5 of 10 images, 1 KiB of 2 KiB')).toBeVisible();
  expect(await screen.findByText(/^Of 3 images listed/)).toBeVisible();
  expect(screen.queryByText('Archived')).toBeNull();
  expect(screen.getByRole('tab', { name: 'Images' })).toBeVisible();
  expect(screen.queryByRole('tab', { name: 'Events' })).toBeNull();
});
