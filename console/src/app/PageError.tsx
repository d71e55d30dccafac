import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Link from '@cloudscape-design/components/link';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate, useRouteError } from 'react-router';

/** A page that threw: the rest of the console stays. After an update the files of the old one are gone; reloading helps. */
export function PageError() {
  const { t } = useTranslation();
  const error = useRouteError();
  return (
    <Alert
      type="error"
      header={t('errors.page')}
      action={<Button onClick={() => location.reload()}>{t('errors.reload')}</Button>}
    >
      <SpaceBetween size="xs">
        <span>{t('errors.pageHint')}</span>
        <Box variant="code">{error instanceof Error ? error.message : String(error)}</Box>
      </SpaceBetween>
    </Alert>
  );
}

export function NotFound() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  return (
    <Box padding={{ vertical: 'xl' }} textAlign="center">
      <SpaceBetween size="m">
        <Box variant="h1">{t('errors.notFound')}</Box>
        <Box variant="p">{t('errors.notFoundHint')}</Box>
        <Link
          href="/"
          onFollow={(event) => {
            event.preventDefault();
            void navigate('/');
          }}
        >
          {t('errors.toHome')}
        </Link>
      </SpaceBetween>
    </Box>
  );
}
