import { useTranslation } from 'react-i18next';
import { ApiError } from '../api/client';

const OURS = ['UNREACHABLE', 'UNAUTHENTICATED', 'INTERNAL'] as const;

/** What to tell of an error: the hub's own line, or ours where it gave none that helps. */
export function useErrorText(): (error: unknown) => string {
  const { t } = useTranslation();
  return (error) => {
    const ours = error instanceof ApiError && OURS.find((code) => code === error.code);
    if (ours) return t(`errors.${ours}`);
    return error instanceof Error ? error.message : String(error);
  };
}
