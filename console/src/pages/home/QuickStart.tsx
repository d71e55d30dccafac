import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { useSession } from '../../app/session';
import { Copyable } from '../../components/Copyable';

const CREATE = `dth secret create old-store
dth secret create new-store
dth task create --once --watch \\
  srcBucket=photos srcEndpoint=https://old.example.org srcCredentials=old-store \\
  destBucket=photos destEndpoint=https://new.example.org destCredentials=new-store`;
const LOOK = `dth task list
dth task show ID`;

/** The ways in: links to what is done most (where nothing else on the page has them), and the command line. */
export function QuickStart({ links }: { links: boolean }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const commands = [
    ['login', `dth login --hub ${location.origin}`],
    ...(may('operator') ? [['create', CREATE]] : []),
    ['look', LOOK],
  ] as ['login' | 'create' | 'look', string][];
  return (
    <Container header={<Header variant="h2">{t('home.quick.title')}</Header>}>
      <SpaceBetween size="l">
        {links && may('operator') && (
          <SpaceBetween direction="horizontal" size="xs">
            <Button onClick={() => void navigate('/tasks/create')}>{t('home.quick.task')}</Button>
            <Button onClick={() => void navigate('/secrets')}>{t('home.quick.secret')}</Button>
            <Button onClick={() => void navigate('/comparisons')}>{t('compare.start')}</Button>
          </SpaceBetween>
        )}
        {commands.map(([key, command]) => (
          <div key={key}>
            <Box variant="p" padding={{ bottom: 'xxs' }}>
              {t(`home.quick.${key}`)}
            </Box>
            <Copyable text={command} code />
          </div>
        ))}
      </SpaceBetween>
    </Container>
  );
}
