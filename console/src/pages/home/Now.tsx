import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { HomeQuery, TaskProgress } from '../../api/generated';
import { TaskStatus, STATUSES } from '../../components/TaskStatus';
import { useFormat } from '../../format';
import { PageLink } from '../../components/PageLink';

/** The figures of this moment and of today, and how many tasks there are of each status. */
export function Now({ home, counts }: { home: HomeQuery; counts: Partial<Record<TaskProgress, number>> }) {
  const { t } = useTranslation();
  const { number, bytes, rate } = useFormat();
  const { day, today } = home;
  const figures: [string, ReactNode][] = [
    [t('home.active'), number(day.active)],
    [t('home.rate'), rate(day.rate)],
    [t('home.workers'), number(day.workers)],
    [t('home.waiting'), number(day.waiting)],
    [t('home.bytesToday'), bytes(today.bytes)],
    [t('home.objectsToday'), number(today.objects)],
    [
      t('home.failedToday'),
      <Box
        key="failed"
        variant="span"
        fontSize="heading-xl"
        fontWeight="bold"
        color={today.failed > 0 ? 'text-status-error' : 'inherit'}
      >
        {number(today.failed)}
      </Box>,
    ],
  ];
  return (
    <Container
      header={
        <Header variant="h2" actions={<PageLink to="/tasks">{t('home.allTasks')}</PageLink>}>
          {t('home.now')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <KeyValuePairs
          columns={4}
          minColumnWidth={130}
          ariaLabel={t('home.now')}
          items={figures.map(([label, value]) => ({
            label,
            value: (
              <Box fontSize="heading-xl" fontWeight="bold">
                <span className="dth-numeric">{value}</span>
              </Box>
            ),
          }))}
        />
        <Box variant="h3">{t('home.byStatus')}</Box>
        <KeyValuePairs
          columns={4}
          minColumnWidth={130}
          ariaLabel={t('home.byStatus')}
          items={STATUSES.filter((status) => counts[status]).map((status) => ({
            label: <TaskStatus progress={status} />,
            value: (
              <PageLink
                to={`/tasks?statuses=${status}`}
                fontSize="heading-l"
                ariaLabel={t('home.tasksWith', {
                  count: counts[status] ?? 0,
                  status: t(`progress.${status}`),
                })}
              >
                {number(counts[status])}
              </PageLink>
            ),
          }))}
        />
      </SpaceBetween>
    </Container>
  );
}
