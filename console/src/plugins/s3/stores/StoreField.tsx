import Button from '@cloudscape-design/components/button';
import Select from '@cloudscape-design/components/select';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useTaskForm } from '../../context';
import { StoresDocument } from '../../../api/generated';
import { useData } from '../../../api/hooks';
import { ParameterFrame } from '../../ParameterFrame';
import { useParameter } from '../../ParameterField';
import { StoreForm } from './StoreForm';

/** One of the hub's stores, a new one that is made in place, or none: then the fields below say where it is. */
export function StoreField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { text, fixed, set, touch } = useParameter(name);
  const { data } = useData(StoresDocument, {});
  const [creating, setCreating] = useState(false);
  const needed = useTaskForm().reading.needs(name);
  const options = [
    ...(needed ? [] : [{ value: '', label: t('stores.typed') }]),
    ...(data?.listStores ?? []).map((store) => ({
      value: store.name,
      label: store.name,
      description: store.endpoint || t('stores.aws'),
    })),
  ];
  return (
    <ParameterFrame
      name={name}
      constraintText={fixed ? t('create.fixed') : t('stores.fieldHint')}
      secondaryControl={!fixed && <Button onClick={() => setCreating(true)}>{t('stores.create')}</Button>}
    >
      <Select
        options={options}
        selectedOption={
          options.find((each) => each.value === text) ?? (text ? { value: text, label: text } : null)
        }
        placeholder={t('stores.pick')}
        empty={t('stores.none')}
        disabled={fixed}
        filteringType={options.length > 10 ? 'auto' : 'none'}
        filteringAriaLabel={t('stores.find')}
        onChange={(event) => set(event.detail.selectedOption.value ?? '')}
        onBlur={touch}
      />
      {creating && (
        <StoreForm
          onDone={(made) => {
            set(made);
            setCreating(false);
          }}
          onDismiss={() => setCreating(false)}
        />
      )}
    </ParameterFrame>
  );
}
