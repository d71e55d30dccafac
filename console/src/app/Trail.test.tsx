import { screen, waitFor } from '@testing-library/react';
import { expect, test } from 'vitest';
import { ApiError } from '../api/client';
import { ID, task } from '../pages/task/testSamples';
import { renderPage } from '../test/render';
import { Trail } from './Trail';

const open = (getTask: () => unknown) =>
  renderPage({ path: '/tasks/:id', element: <Trail />, handle: { crumb: 'task' } }, `/tasks/${ID}`, {
    TaskDetail: () => ({ getTask: getTask() }),
  });

test('the title of the window says how far a task is, and its name', async () => {
  open(() => task());
  await waitFor(() => expect(document.title).toBe('50% - The pictures - Data Transfer Hub'));
  expect(screen.getAllByText('The pictures')).not.toHaveLength(0);
});

test('a task that does not move has no percent; one without a name is called by its places', async () => {
  open(() => task({ progress: 'DONE', description: '', source: 's3://a/', destination: 's3://b/' }));
  await waitFor(() => expect(document.title).toBe('s3://a/ → s3://b/ - Data Transfer Hub'));
});

test('of a task that is not there the id is said', async () => {
  open(() => {
    throw new ApiError('there is no task', 'NOT_FOUND');
  });
  await waitFor(() => expect(document.title).toBe(`${ID} - Data Transfer Hub`));
});
