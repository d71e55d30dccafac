import { useTranslation } from 'react-i18next';

/** What the hub tells of (dth.hub.notifications.Event). */
export const EVENTS = ['TASK_ERROR', 'DEAD_LETTERS', 'TASK_DONE', 'MISSED_SCHEDULE', 'TASK_PAUSED'] as const;

/** An event in the user's language; one that this console does not know, as it is. */
export function useEventName(): (event: string) => string {
  const { t } = useTranslation();
  return (event) => {
    const known = EVENTS.find((each) => each === event);
    return known ? t(`admin.channels.event.${known}`) : event;
  };
}
