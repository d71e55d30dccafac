import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';
import { changeLanguage } from '../../i18n';
import { renderPage } from '../../test/render';
import { Settings } from './Settings';

const render = (platform: string) =>
  renderPage({ path: '/settings', element: <Settings /> }, '/settings', {
    AdminHub: () => ({
      hubInfo: {
        version: '0.1.0',
        platform,
        issuer: 'https://hub.example.org/oidc',
        users: 3,
        plugins: ['S3EC2', 'later'],
        limits: '{"tasks": 20, "workers": 4, "more": 7}',
        certificateKey: 'c2VjcmV0',
      },
    }),
  });

test('what the hub is, in words where there are some', async () => {
  render('local');
  expect(await screen.findByText('Object storage and later')).toBeVisible();
  expect(screen.getByText('Tasks at work at once')).toBeVisible();
  expect(screen.getByText('more')).toBeVisible();
  expect(screen.getByText('c2VjcmV0')).toBeVisible();
  expect(screen.getByRole('link', { name: '3 users' })).toHaveAttribute('href', '/users');
  expect(screen.getByText(/password_secret: smtp/)).toBeVisible();
});

test('hub.yaml is a matter of one machine', async () => {
  render('aws');
  expect(await screen.findByText('AWS')).toBeVisible();
  expect(screen.queryByText('Change the settings')).toBeNull();
});

test('the theme is chosen here as well', async () => {
  render('local');
  await userEvent.click(await screen.findByRole('button', { name: 'Dark mode' }));
  expect(localStorage.getItem('dth.theme')).toBe('dark');
  await userEvent.click(screen.getByRole('button', { name: 'Light mode' }));
});

test('in Chinese', async () => {
  await changeLanguage('zh');
  render('local');
  expect(await screen.findByRole('heading', { level: 1, name: '系统设置' })).toBeVisible();
  expect(await screen.findByText(/^对象存储\s*和\s*later$/)).toBeVisible();
  await changeLanguage('en');
});
