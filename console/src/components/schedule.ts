import { useTranslation } from 'react-i18next';

/** A schedule in the user's language, from the hub's words for it (`every 2 hours`); a cron expression as it is. */
export function useScheduleText(): (task: {
  scheduleType: string | null;
  schedule: string | null;
}) => string {
  const { t } = useTranslation();
  return ({ scheduleType, schedule }) => {
    if (scheduleType === 'ONE_TIME') return t('schedule.once');
    const rate = /^every (?:(\d+) )?(minute|hour|day)s?$/.exec(schedule ?? '');
    if (!rate) return schedule ?? '-';
    return t(`schedule.every.${rate[2] as 'minute' | 'hour' | 'day'}`, { count: Number(rate[1] ?? 1) });
  };
}
