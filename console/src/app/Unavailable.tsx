import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import { useTranslation } from 'react-i18next';

/** The hub did not even give its settings. */
export function Unavailable({ error }: { error: unknown }) {
  const { t } = useTranslation();
  return (
    <main className="dth-sign-in">
      <Alert
        type="error"
        header={t('common.unavailable')}
        action={<Button onClick={() => location.reload()}>{t('common.again')}</Button>}
      >
        {error instanceof Error ? error.message : String(error)}
      </Alert>
    </main>
  );
}
