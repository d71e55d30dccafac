import { useTranslation } from 'react-i18next';
import { useFormat } from '../format';
import { cronWords, type CronWords } from '../plugins/cron';
import { UTC } from '../plugins/zone';

const two = (number: number) => String(number).padStart(2, '0');

/**
 * A schedule in the user's language, from the hub's words for it (`every 2 hours`, or a cron expression). A cron
 * expression that a few words cannot say stands as it is.
 */
export function useScheduleText(): (task: {
  scheduleType: string | null;
  schedule: string | null;
  scheduleTimeZone: string | null;
}) => string {
  const { t } = useTranslation();
  const { locale } = useFormat();

  function spoken({ every, at, weekdays, day }: CronWords, zone: string): string {
    const time = at
      ? t('schedule.at', { time: `${two(at.hour)}:${two(at.minute)}`, zone })
      : every!.minute
        ? t('schedule.pastHour', { rate: rate(every!.unit, every!.count), minute: two(every!.minute) })
        : rate(every!.unit, every!.count);
    if (day) return t('schedule.onDay', { day, time });
    if (weekdays) return t('schedule.onWeekdays', { days: names(weekdays), time });
    return at ? t('schedule.daily', { time }) : time;
  }
  const rate = (unit: 'minute' | 'hour' | 'day', count: number) => t(`schedule.every.${unit}`, { count });
  function names(weekdays: number[]): string {
    const name = new Intl.DateTimeFormat(locale, { weekday: 'short', timeZone: 'UTC' });
    // 2023-01-01 was a Sunday. A week is read from Monday on.
    const ordered = weekdays.toSorted((a, b) => ((a + 6) % 7) - ((b + 6) % 7));
    return ordered.map((day) => name.format(Date.UTC(2023, 0, 1 + day))).join(', ');
  }

  return ({ scheduleType, schedule, scheduleTimeZone }) => {
    if (scheduleType === 'ONE_TIME') return t('schedule.once');
    const found = /^every (?:(\d+) )?(minute|hour|day)s?$/.exec(schedule ?? '');
    if (found) return rate(found[2] as 'minute' | 'hour' | 'day', Number(found[1] ?? 1));
    const words = cronWords(schedule ?? '');
    const zone = scheduleTimeZone ?? UTC;
    if (words) return spoken(words, zone);
    return schedule ? `${schedule}${zone === UTC ? '' : ` ${zone}`}` : '-';
  };
}
