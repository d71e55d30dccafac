import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { useSession } from '../../app/session';

/** How a hub without a task comes to its first one. */
export function FirstSteps({ hasSecret }: { hasSecret: boolean }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const steps = [
    { key: 'secret', to: '/secrets', primary: !hasSecret, done: hasSecret },
    { key: 'task', to: '/tasks/create', primary: hasSecret, done: false },
    { key: 'watch', to: '', primary: false, done: false },
  ] as const;
  return (
    <Container
      header={
        <Header variant="h2" description={may('operator') ? t('home.start.about') : t('home.start.viewer')}>
          {t('home.start.title')}
        </Header>
      }
    >
      <ColumnLayout columns={3} variant="text-grid">
        {steps.map(({ key, to, primary, done }) => (
          <SpaceBetween size="s" key={key}>
            <Box variant="h3">{t(`home.start.${key}.title`)}</Box>
            <Box variant="p">{t(`home.start.${key}.text`)}</Box>
            {done && <StatusIndicator>{t('home.start.done')}</StatusIndicator>}
            {to !== '' && may('operator') && (
              <Button variant={primary ? 'primary' : 'normal'} onClick={() => void navigate(to)}>
                {t(`home.start.${key === 'secret' ? 'secret' : 'task'}.action`)}
              </Button>
            )}
          </SpaceBetween>
        ))}
      </ColumnLayout>
    </Container>
  );
}
