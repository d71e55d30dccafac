import { act, renderHook } from '@testing-library/react';
import { expect, test } from 'vitest';
import { changeLanguage } from '../i18n';
import { useScheduleText } from './schedule';

const say = (schedule: string, scheduleTimeZone: string | null = 'UTC') =>
  renderHook(() => useScheduleText()).result.current({
    scheduleType: 'FIXED_RATE',
    schedule,
    scheduleTimeZone,
  });

test.each([
  ['every 2 hours', 'every 2 hours'],
  ['0 0 * * ? *', 'every day at 00:00 UTC'],
  ['cron(30 2 * * ? *)', 'every day at 02:30 UTC'],
  ['0 20 ? * MON-FRI *', 'Mon, Tue, Wed, Thu, Fri at 20:00 UTC'],
  ['0 20 ? * SUN,SAT *', 'Sat, Sun at 20:00 UTC'],
  ['5 1 15 * ? *', 'on day 15 of each month at 01:05 UTC'],
  ['0/15 * * * ? *', 'every 15 minutes'],
  ['* * * * ? *', 'every minute'],
  ['0 * * * ? *', 'every hour'],
  ['0 0/6 * * ? *', 'every 6 hours'],
  ['5 */6 * * ? *', 'every 6 hours, 05 minutes past'],
  // What a few words cannot say.
  ['0 0 1 1 ? 2199', '0 0 1 1 ? 2199'],
  ['0 8-18 * * ? *', '0 8-18 * * ? *'],
  ['0 1/6 * * ? *', '0 1/6 * * ? *'],
  ['0 0 L * ? *', '0 0 L * ? *'],
  ['', '-'],
])('%s is said as: %s', (schedule, words) => {
  expect(say(schedule)).toBe(words);
});

test('by the clock of its time zone', () => {
  expect(say('0 20 ? * MON-FRI *', 'Europe/Berlin')).toBe('Mon, Tue, Wed, Thu, Fri at 20:00 Europe/Berlin');
  expect(say('0 0 L * ? *', 'Europe/Berlin')).toBe('0 0 L * ? * Europe/Berlin');
  expect(say('every 2 hours', null)).toBe('every 2 hours');
});

test('in Chinese, too', async () => {
  await act(() => changeLanguage('zh'));
  expect(say('30 2 * * ? *')).toBe('每天 02:30（UTC 时间）');
  await act(() => changeLanguage('en'));
});
