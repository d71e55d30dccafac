import Button from '@cloudscape-design/components/button';
import Grid from '@cloudscape-design/components/grid';
import Header from '@cloudscape-design/components/header';
import Skeleton from '@cloudscape-design/components/skeleton';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { HomeDocument, type TaskProgress } from '../api/generated';
import { useData } from '../api/hooks';
import { useSession } from '../app/session';
import { ErrorAlert } from '../components/ErrorAlert';
import { startOfToday, tasksOf } from './home/activity';
import { Attention } from './home/Attention';
import { FirstSteps } from './home/FirstSteps';
import { LastDay } from './home/LastDay';
import { Now } from './home/Now';
import { QuickStart } from './home/QuickStart';
import { RecentChanges } from './home/RecentChanges';
import { RecentTasks } from './home/RecentTasks';

const BUSY = 5_000; // milliseconds between looks while a task works
const IDLE = 15_000;

/** What the hub does now, what wants somebody, and what to do first in a hub that has no task yet. */
export function Home() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const { data, error, refetch } = useData(
    HomeDocument,
    { today: startOfToday() },
    { refetchInterval: ({ state }) => (state.data?.day.active ? BUSY : IDLE) },
  );
  const counts = data ? (JSON.parse(data.hubInfo.tasks) as Partial<Record<TaskProgress, number>>) : {};
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);

  return (
    <SpaceBetween size="l">
      <Header
        variant="h1"
        description={t('home.about')}
        actions={
          may('operator') && (
            <Button variant="primary" onClick={() => void navigate('/tasks/create')}>
              {t('nav.create')}
            </Button>
          )
        }
      >
        {t('common.title')}
      </Header>
      <ErrorAlert error={error} retry={() => void refetch()} />
      {!data && !error && <Skeleton height="240px" />}
      {data && total === 0 && (
        <SpaceBetween size="l">
          <FirstSteps hasSecret={Boolean(data.listSecrets?.length)} />
          <QuickStart links={false} />
        </SpaceBetween>
      )}
      {data && total > 0 && (
        <SpaceBetween size="l">
          <Now home={data} counts={counts} />
          <Attention home={data} />
          <LastDay day={data.day} />
          <Grid gridDefinition={[{ colspan: { default: 12, s: 7 } }, { colspan: { default: 12, s: 5 } }]}>
            <SpaceBetween size="l">
              <RecentTasks tasks={tasksOf(data.recent)} />
              {may('admin') && <RecentChanges />}
            </SpaceBetween>
            <QuickStart links />
          </Grid>
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}
