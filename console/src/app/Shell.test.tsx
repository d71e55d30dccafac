import { fireEvent, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import { renderPage } from '../test/render';
import './Jump'; // loaded on demand, which takes its time here
import { Shell } from './Shell';

vi.mock('react-oidc-context', () => ({ useAuth: () => ({}) }));

const open = () =>
  renderPage(
    { path: '/', element: <Shell />, children: [{ index: true, element: <input aria-label="field" /> }] },
    '/',
    {
      WhoAmI: () => ({ whoAmI: { name: 'tester', role: 'operator' } }),
      Tasks: () => ({ listTasksV2: { total: 0, items: [] } }),
    },
  );

test.each([
  ['Ctrl', { ctrlKey: true }],
  ['Command', { metaKey: true }],
  ['Ctrl with Caps Lock', { ctrlKey: true, key: 'K' }],
])('%s-K opens the search from anywhere, a field too', async (_, keys) => {
  open();
  const field = await screen.findByRole('textbox', { name: 'field' });
  const taken = !fireEvent.keyDown(field, { key: 'k', ...keys });
  expect(taken).toBe(true); // the browser's own search stays away
  const search = await screen.findByRole('combobox', { name: 'Find a task or a page' });
  await waitFor(() => expect(search).toHaveFocus());
});

test('the letter alone is typed, and the search closes again', async () => {
  const user = userEvent.setup();
  open();
  const field = await screen.findByRole('textbox', { name: 'field' });
  await user.type(field, 'k');
  expect(field).toHaveValue('k');
  expect(screen.queryByRole('dialog')).not.toBeInTheDocument();
  await user.keyboard('{Control>}k{/Control}');
  expect(await screen.findByRole('dialog')).toBeVisible();
  await user.click(screen.getByRole('button', { name: 'Close' }));
  await waitFor(() => expect(screen.queryByRole('dialog')).not.toBeInTheDocument());
});
