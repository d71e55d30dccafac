import createWrapper from '@cloudscape-design/components/test-utils/dom';
import { KeyCode } from '@cloudscape-design/test-utils-core/utils';
import { screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';
import type { Role } from '../api/generated';
import { renderPage } from '../test/render';
import { Jump } from './Jump';

const TASK = { id: 'abc', description: 'nightly photos', source: 'a: x', destination: 'b: y' };

function open(role: Role = 'admin') {
  const onClose = vi.fn();
  const view = renderPage(
    { path: '/', element: <Jump onClose={onClose} /> },
    '/',
    { Tasks: () => ({ listTasksV2: { total: 1, items: [TASK] } }) },
    role,
  );
  return { ...view, onClose };
}
const labels = () =>
  createWrapper()
    .findAutosuggest()!
    .findDropdown()
    .findOptions()
    .map((option) => option.findLabel()!.getElement().textContent);

test('a task is found by the hub, and opened from the keyboard', async () => {
  const user = userEvent.setup();
  const { calls, router, onClose } = open();
  const field = await screen.findByRole('combobox', { name: 'Find a task or a page' });
  await waitFor(() => expect(field).toHaveFocus());
  await user.type(field, 'nightly');
  await waitFor(() => expect(calls.at(-1)?.variables).toMatchObject({ text: 'nightly' }));
  await waitFor(() => expect(labels()).toEqual(['nightly photos']));
  const search = createWrapper().findAutosuggest()!;
  expect(field).toHaveFocus();
  search.findNativeInput().keydown(KeyCode.down);
  search.findNativeInput().keydown(KeyCode.enter);
  await waitFor(() => expect(onClose).toHaveBeenCalled());
  expect(router.state.location.pathname).toBe('/tasks/abc');
});

test('pages that the role may not see are not offered', async () => {
  const user = userEvent.setup();
  open('viewer');
  await user.type(await screen.findByRole('combobox'), 's');
  await waitFor(() => expect(labels()).toContain('Secrets'));
  expect(labels()).not.toContain('Users');
});
