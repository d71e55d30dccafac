import Box from '@cloudscape-design/components/box';
import Link from '@cloudscape-design/components/link';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate, useRouteError } from 'react-router';
import { Fault } from './Fault';

/** A page that threw: the rest of the console stays. */
export function PageError() {
  return <Fault error={useRouteError()} />;
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
