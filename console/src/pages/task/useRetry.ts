import { useTranslation } from 'react-i18next';
import { RedriveDeadLettersDocument, RetryFailedDocument } from '../../api/generated';
import { useChange } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { useErrorText } from '../../components/errorText';

/** Tries failed objects again: those with the keys, those with the reason, or, with neither, all that was given up. */
export function useRetry(id: string) {
  const { t } = useTranslation();
  const flash = useFlash();
  const textOf = useErrorText();
  const some = useChange(RetryFailedDocument);
  const all = useChange(RedriveDeadLettersDocument);

  function start(which: { keys?: string[]; reason?: string }, onDone?: () => void) {
    const told = {
      onSuccess: () => {
        flash({ type: 'success', content: t('detail.retried') });
        onDone?.();
      },
      onError: (error: unknown) => flash({ type: 'error', content: textOf(error) }),
    };
    if (which.keys || which.reason) some.mutate({ id, ...which }, told);
    else all.mutate({ id }, told);
  }
  return { start, busy: some.isPending || all.isPending };
}
