import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import { useTranslation } from 'react-i18next';
import { useErrorText } from './errorText';

/** Nothing where there is no error. */
export function ErrorAlert({
  error,
  header,
  retry,
}: {
  error: unknown;
  header?: string;
  retry?: () => void;
}) {
  const { t } = useTranslation();
  const text = useErrorText();
  if (!error) return null;
  return (
    <Alert
      type="error"
      header={header ?? t('errors.title')}
      action={retry && <Button onClick={retry}>{t('common.again')}</Button>}
    >
      <span className="dth-break">{text(error)}</span>
    </Alert>
  );
}
