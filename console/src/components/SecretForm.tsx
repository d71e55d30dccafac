import FormField from '@cloudscape-design/components/form-field';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Input from '@cloudscape-design/components/input';
import RadioGroup from '@cloudscape-design/components/radio-group';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Textarea from '@cloudscape-design/components/textarea';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminSecretsDocument,
  ChangeSecretDocument,
  HomeDocument,
  StoreSecretDocument,
} from '../api/generated';
import { useChange } from '../api/hooks';
import { FormModal } from './FormModal';
import { OptionalLabel } from './OptionalLabel';
import { isBlank, isComplete, isObjectOfTexts, NO_FIELDS, type SecretFields, valueOf } from './secretValue';

const STALE = [AdminSecretsDocument, HomeDocument];

/** Stores a secret, or changes the `known` one. What is typed leaves for the hub, and is nowhere afterwards. */
export function SecretForm({
  known,
  kind = 'keys',
  onDone,
  onDismiss,
}: {
  known?: { name: string; description: string | null };
  /** What it holds, as far as that is known beforehand. */
  kind?: SecretFields['kind'];
  onDone: (name: string) => void;
  onDismiss: () => void;
}) {
  const { t } = useTranslation();
  const [name, setName] = useState(known?.name ?? '');
  const [description, setDescription] = useState(known?.description ?? '');
  const [fields, setFields] = useState<SecretFields>({ ...NO_FIELDS, kind });
  const [tried, setTried] = useState(false);
  const store = useChange(StoreSecretDocument, STALE);
  const change = useChange(ChangeSecretDocument, STALE);
  const set = (changes: Partial<SecretFields>) => setFields((before) => ({ ...before, ...changes }));

  const keepsValue = Boolean(known) && isBlank(fields);
  const missing = (text: string) => (tried && !keepsValue && !text.trim() ? t('common.required') : '');
  const jsonError =
    tried && !keepsValue && !isObjectOfTexts(fields.json) ? t('admin.secrets.jsonInvalid') : '';
  const complete = name.trim() !== '' && (keepsValue || isComplete(fields));

  async function submit() {
    setTried(true);
    if (!complete) return;
    const value = keepsValue ? null : valueOf(fields);
    if (known) await change.mutateAsync({ name: known.name, value, description });
    else await store.mutateAsync({ name: name.trim(), value: value ?? '', description });
    onDone(name.trim());
  }

  const hidden = { type: 'password', autoComplete: 'new-password', spellcheck: false } as const;
  return (
    <FormModal
      title={known ? t('admin.secrets.changeTitle', { name: known.name }) : t('admin.secrets.create')}
      action={known ? t('common.save') : t('common.create')}
      busy={store.isPending || change.isPending}
      error={store.error ?? change.error}
      onSubmit={() => void submit().catch(() => {})} // the form shows it
      onDismiss={onDismiss}
    >
      {!known && (
        <FormField
          label={t('common.name')}
          description={t('admin.secrets.nameHint')}
          errorText={tried && !name.trim() ? t('common.required') : ''}
        >
          <Input
            value={name}
            autoComplete={false}
            spellcheck={false}
            onChange={(event) => setName(event.detail.value)}
          />
        </FormField>
      )}
      <FormField label={<OptionalLabel text={t('common.description')} />}>
        <Input
          value={description}
          autoComplete={false}
          onChange={(event) => setDescription(event.detail.value)}
        />
      </FormField>
      <FormField label={t('admin.secrets.kind')} description={known && t('admin.secrets.keepHint')}>
        <RadioGroup
          value={fields.kind}
          items={[
            { value: 'keys', label: t('admin.secrets.keys'), description: t('admin.secrets.keysHint') },
            { value: 'login', label: t('admin.secrets.login'), description: t('admin.secrets.loginHint') },
            { value: 'json', label: t('admin.secrets.json'), description: t('admin.secrets.jsonHint') },
          ]}
          onChange={(event) => set({ kind: event.detail.value as SecretFields['kind'] })}
        />
      </FormField>
      {fields.kind === 'json' ? (
        <FormField
          label={t('admin.secrets.value')}
          constraintText={t('admin.secrets.valueHint')}
          errorText={jsonError}
        >
          <Textarea
            value={fields.json}
            rows={5}
            autoComplete={false}
            spellcheck={false}
            onChange={(event) => set({ json: event.detail.value })}
          />
        </FormField>
      ) : fields.kind === 'login' ? (
        <SpaceBetween size="l">
          <FormField label={t('admin.secrets.username')} errorText={missing(fields.username)}>
            <Input
              value={fields.username}
              autoComplete={false}
              spellcheck={false}
              onChange={(event) => set({ username: event.detail.value })}
            />
          </FormField>
          <FormField label={t('admin.secrets.password')} errorText={missing(fields.password)}>
            <Input
              {...hidden}
              value={fields.password}
              onChange={(event) => set({ password: event.detail.value })}
            />
          </FormField>
        </SpaceBetween>
      ) : (
        <SpaceBetween size="l">
          <FormField label={t('admin.secrets.accessKeyId')} errorText={missing(fields.accessKeyId)}>
            <Input
              value={fields.accessKeyId}
              autoComplete={false}
              spellcheck={false}
              onChange={(event) => set({ accessKeyId: event.detail.value })}
            />
          </FormField>
          <FormField label={t('admin.secrets.secretAccessKey')} errorText={missing(fields.secretAccessKey)}>
            <Input
              {...hidden}
              value={fields.secretAccessKey}
              onChange={(event) => set({ secretAccessKey: event.detail.value })}
            />
          </FormField>
          <ExpandableSection headerText={t('admin.secrets.more')}>
            <SpaceBetween size="m">
              <FormField
                label={<OptionalLabel text={t('admin.secrets.sessionToken')} />}
                description={t('admin.secrets.sessionTokenHint')}
              >
                <Input
                  {...hidden}
                  value={fields.sessionToken}
                  onChange={(event) => set({ sessionToken: event.detail.value })}
                />
              </FormField>
              <FormField
                label={<OptionalLabel text={t('admin.secrets.roleArn')} />}
                description={t('admin.secrets.roleArnHint')}
              >
                <Input
                  value={fields.roleArn}
                  autoComplete={false}
                  spellcheck={false}
                  placeholder="arn:aws:iam::123456789012:role/transfer"
                  onChange={(event) => set({ roleArn: event.detail.value })}
                />
              </FormField>
              <FormField
                label={<OptionalLabel text={t('admin.secrets.externalId')} />}
                description={t('admin.secrets.externalIdHint')}
              >
                <Input
                  value={fields.externalId}
                  autoComplete={false}
                  spellcheck={false}
                  onChange={(event) => set({ externalId: event.detail.value })}
                />
              </FormField>
            </SpaceBetween>
          </ExpandableSection>
        </SpaceBetween>
      )}
    </FormModal>
  );
}
