import Button from '@cloudscape-design/components/button';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminSecretsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { useErrorText } from '../../components/errorText';
import { SecretForm } from '../../components/SecretForm';
import { ParameterFrame } from '../ParameterFrame';
import { useParameter } from '../ParameterField';

/** One of the hub's secrets, or a new one that is made in place. */
export function SecretField({ name }: { name: string }) {
  const { t } = useTranslation();
  const textOf = useErrorText();
  const { text, set, touch } = useParameter(name);
  const { data, error, isFetching, refetch } = useData(AdminSecretsDocument, {});
  const [creating, setCreating] = useState(false);
  const options = (data?.listSecrets ?? []).flatMap((secret) =>
    secret ? [{ value: secret.name, label: secret.name, description: secret.description ?? '' }] : [],
  );
  const unknown = data && text && !options.some((each) => each.value === text);
  return (
    <ParameterFrame
      name={name}
      constraintText={unknown && t('s3.secret.unknown', { name: text })}
      secondaryControl={
        <SpaceBetween direction="horizontal" size="xs">
          <Button
            iconName="refresh"
            ariaLabel={t('common.refresh')}
            loading={isFetching}
            onClick={() => void refetch()}
          />
          <Button onClick={() => setCreating(true)}>{t('s3.secret.create')}</Button>
        </SpaceBetween>
      }
    >
      <Select
        options={options}
        selectedOption={text ? { value: text, label: text } : null}
        placeholder={t('s3.secret.choose')}
        empty={t('s3.secret.none')}
        statusType={error ? 'error' : data ? 'finished' : 'loading'}
        errorText={error ? textOf(error) : ''}
        loadingText={t('common.loading')}
        filteringType={options.length > 10 ? 'auto' : 'none'}
        filteringAriaLabel={t('s3.secret.choose')}
        onChange={(event) => set(event.detail.selectedOption.value ?? '')}
        onBlur={touch}
      />
      {creating && (
        <SecretForm
          onDone={(name) => {
            set(name);
            setCreating(false);
          }}
          onDismiss={() => setCreating(false)}
        />
      )}
    </ParameterFrame>
  );
}
