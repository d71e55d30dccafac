import Button from '@cloudscape-design/components/button';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminSecretsDocument } from '../api/generated';
import { useData } from '../api/hooks';
import { useErrorText } from '../components/errorText';
import { SecretForm } from '../components/SecretForm';
import { isUnbound } from '../components/secretValue';
import { useTaskForm } from './context';
import { ParameterFrame } from './ParameterFrame';
import { useParameter } from './ParameterField';

/** One of the hub's secrets, or a new one that is made in place: of access keys, or as the plugin says. */
export function SecretField({ name }: { name: string }) {
  const { t } = useTranslation();
  const textOf = useErrorText();
  const { text, set, touch } = useParameter(name);
  const { data, error, isFetching, refetch } = useData(AdminSecretsDocument, {});
  const [creating, setCreating] = useState(false);
  const form = useTaskForm();
  const kind = form.kind.wizard.secretKind?.(form.reading, name) ?? 'keys';
  const options = (data?.listSecrets ?? []).flatMap((secret) =>
    secret ? [{ value: secret.name, label: secret.name, description: secret.description ?? '' }] : [],
  );
  const chosen = data?.listSecrets?.find((secret) => secret?.name === text);
  const unknown = data && text && !options.some((each) => each.value === text);
  return (
    <ParameterFrame
      name={name}
      constraintText={
        unknown
          ? t('create.secret.unknown', { name: text })
          : isUnbound(chosen?.hosts) && t('create.secret.unbound', { name: text })
      }
      secondaryControl={
        <SpaceBetween direction="horizontal" size="xs">
          <Button
            iconName="refresh"
            ariaLabel={t('common.refresh')}
            loading={isFetching}
            onClick={() => void refetch()}
          />
          <Button onClick={() => setCreating(true)}>{t('create.secret.create')}</Button>
        </SpaceBetween>
      }
    >
      <Select
        options={options}
        selectedOption={text ? { value: text, label: text } : null}
        placeholder={t('create.secret.choose')}
        empty={t('create.secret.none')}
        statusType={error ? 'error' : data ? 'finished' : 'loading'}
        errorText={error ? textOf(error) : ''}
        loadingText={t('common.loading')}
        filteringType={options.length > 10 ? 'auto' : 'none'}
        filteringAriaLabel={t('create.secret.choose')}
        onChange={(event) => set(event.detail.selectedOption.value ?? '')}
        onBlur={touch}
      />
      {creating && (
        <SecretForm
          onDone={(name) => {
            set(name);
            setCreating(false);
          }}
          kind={kind}
          onDismiss={() => setCreating(false)}
        />
      )}
    </ParameterFrame>
  );
}
