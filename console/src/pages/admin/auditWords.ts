import { useTranslation } from 'react-i18next';

/** An operation of the hub in words; one that this console does not know, as it is. */
export function useOperationName(): (operation: string) => string {
  const { t } = useTranslation();
  return (operation) => t(`admin.audit.operation.${operation as 'createTask'}`, { defaultValue: operation });
}

/** All operations that this console knows, by their words. */
export function useOperations(): { value: string; label: string }[] {
  const { t, i18n } = useTranslation();
  const known: Record<string, string> = t('admin.audit.operation', { returnObjects: true });
  return Object.entries(known)
    .map(([value, label]) => ({ value, label }))
    .toSorted((one, other) => one.label.localeCompare(other.label, i18n.language));
}

const TASK = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const OF_A_TASK =
  /Task$|^(?:startRun|retryFailed|redriveDeadLetters|withdrawAcknowledgement)$|ByHub$|^window|^continued/;

/** The id of the task that an entry is about; a new one's is in the outcome. Empty where it is about something else. */
export function taskOf(entry: { what: string; target: string; outcome: string }): string {
  if (!OF_A_TASK.test(entry.what)) return '';
  const [, made = ''] = entry.outcome.split(' ');
  return [made, entry.target].find((id) => TASK.test(id)) ?? '';
}

/** JSON with line ends; what is not a whole JSON (it was too long), as it is. */
export function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
