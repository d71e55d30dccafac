import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { Copyable } from '../../components/Copyable';
import { useTaskForm } from '../../plugins/context';
import { taskInput } from '../../plugins/form';
import { saveFile } from '../../components/saveFile';
import { commandLine, taskFile } from './taskFile';

/** The task for those who keep it as a file, or create it by a command. */
export function Export() {
  const { t } = useTranslation();
  const { form, kind, isEdit } = useTaskForm();
  const input = taskInput(form, kind);
  const file = `task-${form.id.slice(0, 8)}.yaml`;
  return (
    <ExpandableSection
      variant="container"
      headingTagOverride="h2"
      headerText={t('create.export.title')}
      headerDescription={t('create.export.about')}
    >
      <SpaceBetween size="l">
        <SpaceBetween size="xs">
          <Button iconName="download" onClick={() => saveFile(file, taskFile(input), 'application/yaml')}>
            {t('create.export.file')}
          </Button>
          <Box variant="p">{t('create.export.apply')}</Box>
          <Copyable code text={`dth task apply -f ${file}`} />
        </SpaceBetween>
        {!isEdit && (
          <SpaceBetween size="xs">
            <Box variant="p">{t('create.export.command')}</Box>
            <Copyable code text={commandLine(input)} />
          </SpaceBetween>
        )}
      </SpaceBetween>
    </ExpandableSection>
  );
}
