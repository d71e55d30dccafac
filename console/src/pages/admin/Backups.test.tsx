import { screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import { type Answers, renderPage } from '../../test/render';
import { Backups } from './Backups';

const hub = (backsUp: boolean) => () => ({
  hubInfo: {
    version: '0.1.0',
    platform: 'local',
    issuer: 'https://login.example.org',
    users: 1,
    plugins: ['s3'],
    limits: '{}',
    invites: true,
    backsUp,
    certificateKey: 'abc',
  },
});
const restore = (state: string, more = {}) => ({
  getRestore: { id: 'r1', state, error: '', tasks: 0, users: 0, newestAt: null, leftOut: [], ...more },
});
const entry = (id: number, what: string, target: string, outcome: string) => ({
  id,
  at: '2026-11-24T10:00:00Z',
  who: 'maria',
  via: 'oidc',
  what,
  target,
  outcome,
});

const render = (answers: Answers = {}) =>
  renderPage({ path: '/backups', element: <Backups /> }, '/backups', {
    AdminHub: hub(true),
    AdminBackups: () => ({ listAudit: { items: [] } }),
    AdminRestore: () => ({ getRestore: null }),
    ...answers,
  });

test('the last backups are shown, with those that are not complete', async () => {
  render({
    AdminBackups: () => ({
      listAudit: {
        items: [
          entry(3, 'backup', 'dth-2026.tar.gz', ''),
          entry(2, 'backup', '/backup/2026', 'FAILED'),
          entry(1, 'restore', 'before-restore-2026', 'ok'),
        ],
      },
    }),
  });
  const table = within(await screen.findByRole('table', { name: 'Last backups and restores' }));
  expect(await table.findByRole('row', { name: /Back up dth-2026.tar.gz maria In progress/ })).toBeVisible();
  expect(table.getByRole('row', { name: /Back up \/backup\/2026 maria Not complete/ })).toBeVisible();
  expect(
    table.getByRole('row', { name: /Restore a backup before-restore-2026 maria Complete/ }),
  ).toBeVisible();
});

test('a backup is downloaded by a link', async () => {
  const assign = vi.fn();
  vi.stubGlobal('location', { ...location, assign });
  render({ CreateBackupLink: () => ({ createBackupLink: { url: 'http://hub/backup?ticket=x' } }) });
  await userEvent.click(await screen.findByRole('button', { name: 'Download a backup' }));
  await waitFor(() => expect(assign).toHaveBeenCalledWith('http://hub/backup?ticket=x'));
  expect(await screen.findByText(/^The download begins/)).toBeVisible();
  vi.unstubAllGlobals();
});

test('a backup is uploaded in pieces, and checked', async () => {
  let checked = false;
  const { calls } = render({
    AdminRestore: () => (checked ? restore('CHECKING') : { getRestore: null }),
    BeginRestore: () => ({ beginRestore: { id: 'r1' } }),
    CheckRestore: () => {
      checked = true;
      return { checkRestore: { id: 'r1' } };
    },
  });
  const file = new File([new Uint8Array(2_500_000)], 'dth.tar.gz');
  await userEvent.upload(await screen.findByLabelText('File of a backup (.tar.gz)'), file);
  expect(await screen.findByText('The hub unpacks and checks the backup.')).toBeVisible();
  expect(calls.filter(({ name }) => name.startsWith('/restore'))).toEqual([
    { name: '/restore/r1?offset=0', variables: 1_048_576 },
    { name: '/restore/r1?offset=1048576', variables: 1_048_576 },
    { name: '/restore/r1?offset=2097152', variables: 402_848 },
  ]);
  expect(calls).toContainEqual({ name: 'CheckRestore', variables: { id: 'r1' } });
});

test('a backup that the hub refuses says why', async () => {
  render({ AdminRestore: () => restore('FAILED', { error: 'this is not a backup of a hub' }) });
  expect(await screen.findByText('this is not a backup of a hub')).toBeVisible();
});

test('a backup that waits says what it will do, and can be discarded', async () => {
  const { calls } = render({
    AdminRestore: () =>
      restore('WAITING', { tasks: 1200, users: 3, newestAt: '2026-11-24T10:00:00Z', leftOut: ['hub.yaml'] }),
    DiscardRestore: () => ({ discardRestore: true }),
  });
  expect(await screen.findByText(/^It has 1,200 tasks and 3 users/)).toBeVisible();
  expect(screen.getByText(/not restored: hub.yaml/)).toBeVisible();
  expect(screen.getByText(/revoked since then is valid again/)).toBeVisible();
  await userEvent.click(screen.getByRole('button', { name: 'Discard' }));
  const dialog = within(await screen.findByRole('dialog'));
  await userEvent.click(dialog.getByRole('button', { name: 'Discard' }));
  expect(await screen.findByText('The backup is discarded.')).toBeVisible();
  expect(calls).toContainEqual({ name: 'DiscardRestore', variables: { id: 'r1' } });
});

test('a hub on AWS says where its backups are', async () => {
  render({ AdminHub: hub(false) });
  expect(await screen.findByText('This hub makes no backups here')).toBeVisible();
  expect(screen.queryByRole('button', { name: 'Download a backup' })).toBeNull();
});
