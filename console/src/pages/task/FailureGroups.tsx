import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { TaskFailuresDocument, type TaskFailuresQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { useSession } from '../../app/session';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';
import type { TabProps } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { useTabPath } from './tab';
import { TabLink } from './TabLink';
import { useTextOr } from './textOr';
import { useRetry } from './useRetry';
import { VisibleKey } from './VisibleKey';

type Group = TaskFailuresQuery['failureGroups'][number];

// As dth.hub.advice has it for reasons that it does not know.
const GENERAL = 'See the detail and the logs of the workers, fix the cause, then retry.';

export function FailureGroups({ task, plugin, poll }: TabProps) {
  const { t } = useTranslation();
  const words = useWords(plugin);
  const { number } = useFormat();
  const failures = useData(TaskFailuresDocument, { id: task.id }, { refetchInterval: poll });
  const groups = failures.data?.failureGroups;
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={words('detail.failures.description')}
          {...(groups?.length
            ? {
                counter: `(${number(groups.reduce((sum, group) => sum + group.count, 0))}${groups[0]?.more ? '+' : ''})`,
              }
            : {})}
        >
          {t('detail.failures.title')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <ErrorAlert error={failures.error} retry={() => void failures.refetch()} />
        {groups?.length === 0 && (
          <StatusIndicator type="success">{t('detail.failures.none')}</StatusIndicator>
        )}
        {groups?.map((group) => (
          <FailureGroup key={group.reason} id={task.id} group={group} />
        ))}
      </SpaceBetween>
    </Container>
  );
}

function FailureGroup({ id, group }: { id: string; group: Group }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const { may } = useSession();
  const textOr = useTextOr();
  const path = useTabPath();
  const retry = useRetry(id);
  const reason = group.reason || t('detail.failures.unnamed');
  const known = group.advice === GENERAL ? 'general' : group.reason;
  return (
    <section aria-label={reason}>
      <SpaceBetween size="xs">
        <Header
          variant="h3"
          counter={`(${number(group.count)}${group.more ? '+' : ''})`}
          actions={
            <SpaceBetween direction="horizontal" size="s" alignItems="center">
              {group.reason !== '' && (
                <TabLink
                  to={path('objects', { status: 'FAILED', reason: group.reason })}
                  label={t('detail.failures.showReason', { reason })}
                >
                  {t('detail.failures.show')}
                </TabLink>
              )}
              {group.reason !== '' && (
                <TabLink
                  to={path('logs', { search: group.reason })}
                  label={t('detail.failures.logsOf', { reason })}
                >
                  {t('detail.failures.logs')}
                </TabLink>
              )}
              {may('operator') && group.reason !== '' && (
                <Button
                  loading={retry.busy}
                  ariaLabel={t('detail.failures.retryReason', { reason })}
                  onClick={() => retry.start({ reason: group.reason })}
                >
                  {t('detail.failures.retry')}
                </Button>
              )}
            </SpaceBetween>
          }
        >
          <StatusIndicator type="error">{reason}</StatusIndicator>
        </Header>
        <KeyValuePairs
          columns={3}
          minColumnWidth={240}
          items={[
            { label: t('detail.failures.todo'), value: textOr(`detail.advice.${known}`, group.advice) },
            {
              label: t('detail.failures.what'),
              value: <HubText>{group.detail || '-'}</HubText>,
            },
            {
              label: t('detail.failures.samples'),
              value: (
                <SpaceBetween size="xxs">
                  {group.keys.map((key) => (
                    <Box key={key} fontSize="body-s">
                      <VisibleKey name={key} />
                    </Box>
                  ))}
                </SpaceBetween>
              ),
            },
          ]}
        />
      </SpaceBetween>
    </section>
  );
}
