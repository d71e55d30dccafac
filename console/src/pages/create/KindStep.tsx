import Container from '@cloudscape-design/components/container';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Tiles from '@cloudscape-design/components/tiles';
import { useTranslation } from 'react-i18next';
import { useKindTexts } from '../../plugins/registry';
import type { TaskForm } from '../../plugins/types';

const MOST = 1000; // characters, as the hub has it

/** What kind of task it is, and what it is for. */
export function KindStep(props: {
  form: TaskForm;
  types: readonly string[];
  onType: ((type: string) => void) | undefined;
  onDescription: (text: string) => void;
}) {
  const { t } = useTranslation();
  const { nameOf, aboutOf } = useKindTexts();
  return (
    <Container header={<Header variant="h2">{t('create.kind.title')}</Header>}>
      <SpaceBetween size="l">
        <FormField label={t('create.kind.type')} stretch>
          <Tiles
            value={props.form.type}
            items={props.types.map((type) => ({
              value: type,
              label: nameOf(type),
              description: aboutOf(type),
            }))}
            readOnly={!props.onType}
            onChange={(event) => props.onType?.(event.detail.value)}
          />
        </FormField>
        <FormField
          label={
            <>
              {t('common.description')}
              <i>{` - ${t('common.optional')}`}</i>
            </>
          }
          constraintText={t('create.kind.descriptionHint')}
          stretch
        >
          <Input
            value={props.form.description}
            autoComplete={false}
            nativeInputAttributes={{ maxLength: MOST }}
            onChange={(event) => props.onDescription(event.detail.value)}
          />
        </FormField>
      </SpaceBetween>
    </Container>
  );
}
