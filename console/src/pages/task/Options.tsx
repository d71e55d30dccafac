import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { useSession } from '../../app/session';
import { Clamp } from '../../components/Clamp';
import { useScheduleText } from '../../components/schedule';
import { useFormat } from '../../format';
import { ParameterGroups } from './ParameterGroups';
import type { TabProps } from '../../plugins/types';

/** What a user may want to change of a task that runs: when it runs, how much it may take, who hears of it. */
export function Options({ task, plugin }: TabProps) {
  const { t } = useTranslation();
  const { whenHere } = useFormat();
  const scheduleText = useScheduleText();
  const navigate = useNavigate();
  const { may } = useSession();
  return (
    <Container
      header={
        <Header
          variant="h2"
          actions={
            may('operator') && (
              <Button iconName="edit" onClick={() => void navigate(`/tasks/${task.id}/edit`)}>
                {t('common.edit')}
              </Button>
            )
          }
        >
          {t('detail.options.title')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <KeyValuePairs
          columns={3}
          items={[
            {
              label: t('common.description'),
              value: <Clamp text={task.description || '-'} />,
            },
            { label: t('detail.options.kind'), value: scheduleText(task) },
            { label: t('detail.overview.nextRun'), value: whenHere(task.nextRunAt) },
          ]}
        />
        <ParameterGroups task={task} plugin={plugin} only={['schedule', 'options']} />
      </SpaceBetween>
    </Container>
  );
}
