import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { Clamp } from './Clamp';

test('of a long text two lines are shown, and the whole when it is asked for', async () => {
  const long = 'k'.repeat(900);
  render(<Clamp text={long} />);
  expect(screen.getByText(long)).toHaveClass('dth-clamp');
  const button = screen.getByRole('button', { name: 'Show all' });
  expect(button).toHaveAttribute('aria-expanded', 'false');
  await userEvent.click(button);
  expect(screen.getByText(long)).not.toHaveClass('dth-clamp');
  await userEvent.click(screen.getByRole('button', { name: 'Show less' }));
  expect(screen.getByText(long)).toHaveClass('dth-clamp');
});

test('a short text is just a text', () => {
  render(<Clamp text="photos" />);
  expect(screen.getByText('photos')).not.toHaveClass('dth-clamp');
  expect(screen.queryByRole('button')).toBeNull();
});
