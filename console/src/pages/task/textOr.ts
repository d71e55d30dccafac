import { useTranslation } from 'react-i18next';

/** The text of a key that the server's answer named; where our texts have none, what the server says. */
export function useTextOr(): (key: string, fallback: string) => string {
  const { t, i18n } = useTranslation();
  const any = t as unknown as (key: string) => string;
  return (key, fallback) => (i18n.exists(key) ? any(key) : fallback);
}
