import { screen, within } from '@testing-library/react';
import createWrapper from '@cloudscape-design/components/test-utils/dom';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { type Answers, renderPage } from '../../test/render';
import { Channels, shownTarget } from './Channels';

const hook = {
  id: 'c1',
  kind: 'webhook',
  target: 'https://hooks.example.org/services/T0/secret',
  name: 'team',
  events: ['TASK_ERROR', 'SOMETHING_NEW'],
  enabled: true,
};

const render = (answers: Answers = {}, channels = [hook]) =>
  renderPage({ path: '/channels', element: <Channels /> }, '/channels', {
    AdminChannels: () => ({ listChannels: channels }),
    PutChannel: () => ({ putChannel: { id: 'c1', enabled: true } }),
    ...answers,
  });

test('events are told in words, and the address of a webhook not at all', async () => {
  const { baseElement } = render();
  expect(await screen.findByText('Task failed and SOMETHING_NEW')).toBeVisible();
  expect(screen.getByText('hooks.example.org/…')).toBeVisible();
  expect(baseElement.innerHTML).not.toContain('secret');
  expect(shownTarget({ kind: 'email', target: 'a@example.org' })).toBe('a@example.org');
});

test('a channel is added for the events chosen', async () => {
  const { calls } = render({}, []);
  expect(await screen.findByText('No channels')).toBeVisible();
  await userEvent.click(screen.getAllByRole('button', { name: 'Add channel' })[0]!);
  const form = within(await screen.findByRole('dialog'));
  await userEvent.click(form.getByRole('radio', { name: /^E-mail/ }));
  await userEvent.type(form.getByLabelText('E-mail address'), 'team@example.org');
  const events = createWrapper().findModal()!.findContent().findMultiselect()!;
  events.openDropdown();
  events.selectOptionByValue('DEAD_LETTERS', { expandToViewport: true });
  events.selectOptionByValue('TASK_PAUSED', { expandToViewport: true });
  await userEvent.click(form.getByRole('button', { name: 'Add channel' }));
  await screen.findByText('The channel is saved.');
  expect(calls).toContainEqual({
    name: 'PutChannel',
    variables: {
      input: {
        kind: 'email',
        target: 'team@example.org',
        name: '',
        events: ['DEAD_LETTERS', 'TASK_PAUSED'],
      },
    },
  });
});

test('switching off keeps everything else', async () => {
  const { calls } = render();
  await userEvent.click(await screen.findByLabelText('Send to team'));
  expect(calls).toContainEqual({ name: 'PutChannel', variables: { input: { ...hook, enabled: false } } });
});

test.each([
  ['', 'A test message was sent to team.'],
  ['hooks.example.org answered 404', 'hooks.example.org answered 404'],
])('a test that answers "%s"', async (line, shown) => {
  render({ TestChannel: () => ({ testChannel: line }) });
  await userEvent.click(await screen.findByRole('button', { name: 'Send a test message to team' }));
  expect(await screen.findByText(shown)).toBeVisible();
});
