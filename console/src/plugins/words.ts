import type { ParseKeys } from 'i18next';
import { useTranslation } from 'react-i18next';
import type { TaskPlugin } from './types';

/** Texts that may differ by the kind of task: a plugin's own stand under its `words`, by the same keys. */
export function useWords({ texts }: TaskPlugin) {
  const { t } = useTranslation();
  const any = t as unknown as (keys: readonly string[], values?: object) => string;
  return (key: ParseKeys, values?: object): string => any([`${texts}.words.${key}`, key], values);
}
