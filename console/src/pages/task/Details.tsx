import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { Copyable } from '../../components/Copyable';
import { useScheduleText } from '../../components/schedule';
import { useFormat } from '../../format';
import { ParameterGroups } from './ParameterGroups';
import { useKindTexts } from '../../plugins/registry';
import type { TabProps } from '../../plugins/types';

const copied = (text: string | null) => (text ? <Copyable text={text} /> : '-');

export function Details({ task, plugin }: TabProps) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const scheduleText = useScheduleText();
  const { nameOf } = useKindTexts();
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2">{t('detail.facts.title')}</Header>}>
        <KeyValuePairs
          columns={3}
          items={[
            { label: t('detail.facts.id'), value: copied(task.id) },
            { label: t('detail.facts.source'), value: copied(task.source) },
            { label: t('detail.facts.destination'), value: copied(task.destination) },
            { label: t('detail.facts.type'), value: nameOf(task.type) },
            { label: t('detail.facts.schedule'), value: scheduleText(task) },
            { label: t('detail.facts.logGroup'), value: copied(task.logGroupName) },
            { label: t('detail.facts.createdBy'), value: task.createdBy || '-' },
            { label: t('detail.facts.created'), value: when(task.createdAt) },
            { label: t('detail.facts.updated'), value: when(task.updatedAt) },
            { label: t('detail.facts.stopped'), value: when(task.stoppedAt) },
          ]}
        />
      </Container>
      <Container header={<Header variant="h2">{t('detail.parameters.title')}</Header>}>
        <ParameterGroups task={task} plugin={plugin} />
      </Container>
    </SpaceBetween>
  );
}
