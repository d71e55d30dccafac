import Checkbox from '@cloudscape-design/components/checkbox';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import FormField from '@cloudscape-design/components/form-field';
import Button from '@cloudscape-design/components/button';
import Input from '@cloudscape-design/components/input';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminSecretsDocument,
  CreateStoreDocument,
  FormParametersDocument,
  type StoreInput,
  StoresDocument,
  type StoresQuery,
  UpdateStoreDocument,
} from '../../../api/generated';
import { useChange, useData } from '../../../api/hooks';
import { FormModal } from '../../../components/FormModal';
import { OptionalLabel } from '../../../components/OptionalLabel';
import { SecretForm } from '../../../components/SecretForm';

export type Store = StoresQuery['listStores'][number];
type Field = Exclude<keyof StoreInput, 'anonymous'>;
type Values = Record<Field, string> & { anonymous: boolean };

const NONE: Values = {
  kind: '',
  endpoint: '',
  region: '',
  secret: '',
  profile: '',
  roleArn: '',
  externalId: '',
  addressingStyle: '',
  caBundle: '',
  proxy: '',
  checksumMode: '',
  description: '',
  anonymous: false,
};
const MORE: Field[] = ['profile', 'roleArn', 'externalId', 'caBundle', 'proxy'];
const STALE = [StoresDocument, AdminSecretsDocument];

/** Makes a store, or changes the `known` one. */
export function StoreForm({
  known,
  onDone,
  onDismiss,
}: {
  known?: Store;
  onDone: (name: string) => void;
  onDismiss: () => void;
}) {
  const { t } = useTranslation();
  const [name, setName] = useState(known?.name ?? '');
  const [values, setValues] = useState<Values>(known ? ofStore(known) : NONE);
  const [tried, setTried] = useState(false);
  const [keeping, setKeeping] = useState(false);
  const create = useChange(CreateStoreDocument, STALE);
  const update = useChange(UpdateStoreDocument, STALE);
  const secrets = useData(AdminSecretsDocument, {});
  const choices = useChoices();
  const set = (changes: Partial<Values>) => setValues((before) => ({ ...before, ...changes }));

  async function submit() {
    setTried(true);
    if (!name.trim()) return;
    const input = { ...values, ...(values.anonymous ? { secret: '', profile: '' } : {}) };
    if (known) await update.mutateAsync({ name: known.name, input });
    else await create.mutateAsync({ name: name.trim(), input });
    onDone(name.trim());
  }

  const text = (field: Field, placeholder = '') => (
    <FormField
      key={field}
      label={<OptionalLabel text={t(`stores.fields.${field}`)} />}
      description={t(`stores.hints.${field}`)}
    >
      <Input
        value={values[field]}
        placeholder={placeholder}
        autoComplete={false}
        spellcheck={false}
        onChange={(event) => set({ [field]: event.detail.value })}
      />
    </FormField>
  );
  const choice = (field: 'kind' | 'addressingStyle' | 'checksumMode') => {
    const options = choices(field);
    return (
      <FormField label={t(`stores.fields.${field}`)} description={t(`stores.hints.${field}`)}>
        <Select
          options={options}
          selectedOption={options.find((each) => each.value === values[field]) ?? null}
          onChange={(event) => set({ [field]: event.detail.selectedOption.value ?? '' })}
        />
      </FormField>
    );
  };
  const kept = [
    { value: '', label: t('stores.noSecret') },
    ...(secrets.data?.listSecrets ?? []).flatMap((each) =>
      each ? [{ value: each.name, label: each.name, description: each.description ?? '' }] : [],
    ),
  ];

  return (
    <>
      <FormModal
        title={known ? t('stores.changeTitle', { name: known.name }) : t('stores.create')}
        action={known ? t('common.save') : t('common.create')}
        busy={create.isPending || update.isPending}
        error={create.error ?? update.error}
        onSubmit={() => void submit().catch(() => {})} // the form shows it
        onDismiss={onDismiss}
      >
        {!known && (
          <FormField
            label={t('common.name')}
            description={t('stores.nameHint')}
            errorText={tried && !name.trim() ? t('common.required') : ''}
          >
            <Input
              value={name}
              placeholder="old-minio"
              autoComplete={false}
              spellcheck={false}
              onChange={(event) => setName(event.detail.value)}
            />
          </FormField>
        )}
        {choice('kind')}
        {text('endpoint', 'https://minio.example.com:9000')}
        {text('region', 'eu-central-1')}
        {!values.anonymous && (
          <FormField
            label={t('stores.fields.secret')}
            description={t('stores.hints.secret')}
            secondaryControl={<Button onClick={() => setKeeping(true)}>{t('create.secret.create')}</Button>}
          >
            <Select
              options={kept}
              selectedOption={kept.find((each) => each.value === values.secret) ?? { value: values.secret }}
              filteringType={kept.length > 10 ? 'auto' : 'none'}
              filteringAriaLabel={t('create.secret.choose')}
              onChange={(event) => set({ secret: event.detail.selectedOption.value ?? '' })}
            />
          </FormField>
        )}
        <Checkbox checked={values.anonymous} onChange={(event) => set({ anonymous: event.detail.checked })}>
          {t('stores.fields.anonymous')}
        </Checkbox>
        {text('description')}
        <ExpandableSection headerText={t('stores.more')}>
          <SpaceBetween size="l">
            {choice('addressingStyle')}
            {choice('checksumMode')}
            {MORE.map((field) => text(field))}
          </SpaceBetween>
        </ExpandableSection>
      </FormModal>
      {keeping && (
        <SecretForm
          onDone={(secret) => {
            set({ secret });
            setKeeping(false);
          }}
          onDismiss={() => setKeeping(false)}
        />
      )}
    </>
  );
}

const ofStore = (store: Store): Values =>
  Object.fromEntries(Object.keys(NONE).map((field) => [field, store[field as keyof Values]])) as Values;

/** The values of a choice, as the hub has them. */
function useChoices() {
  const { t, i18n } = useTranslation();
  const { data } = useData(FormParametersDocument, { type: 'S3EC2' }, { staleTime: Infinity });
  const any = t as unknown as (key: string) => string;
  const of = {
    kind: ['srcType', 'store'],
    addressingStyle: ['srcAddressingStyle', 'addressing'],
    checksumMode: ['checksumMode', 'checksumMode'],
  } as const;
  return (field: keyof typeof of) => {
    const [parameter, texts] = of[field];
    const allowed = data?.listTaskParameters.find((each) => each.name === parameter)?.allowed ?? [];
    const label = (value: string) => {
      const key = `s3.choices.${texts}.labels.${value || 'unset'}`;
      return i18n.exists(key) ? any(key) : value || t('create.unset');
    };
    return ['', ...allowed].map((value) => ({ value, label: label(value) }));
  };
}
