import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useFlash } from '../../app/flash';
import { usePreference } from '../../app/preferences';
import { FormModal } from '../../components/FormModal';
import { readQuery, type TaskListQuery, writeQuery } from './query';

/** A filter and an order of the list, as the address has them. */
interface View {
  name: string;
  address: string;
}

const MOST = 50; // views of a user

/**
 * The views that a user has named. They are in this browser, as the columns are: who wants to give one to others sends
 * the address.
 */
export function Views({
  query,
  types,
  onOpen,
}: {
  query: TaskListQuery;
  types: readonly string[];
  onOpen: (query: TaskListQuery) => void;
}) {
  const { t } = useTranslation();
  const flash = useFlash();
  const [views, setViews] = usePreference<readonly View[]>('taskViews', []);
  const [naming, setNaming] = useState(false);
  const address = writeQuery({ ...query, page: 1 }).toString();
  const current = views.find((view) => view.address === address);

  function choose(id: string) {
    const opened = views.find(({ name }) => id === `open:${name}`);
    if (opened) onOpen(readQuery(new URLSearchParams(opened.address), types));
    else if (id === 'save') setNaming(true);
    else setViews(views.filter((each) => each !== current));
  }
  function save(name: string) {
    const others = views.filter((each) => each.name !== name);
    setViews([...others, { name, address }].toSorted((a, b) => a.name.localeCompare(b.name)).slice(0, MOST));
    setNaming(false);
    flash({ type: 'success', content: t('tasks.views.saved', { name }) });
  }

  return (
    <>
      <ButtonDropdown
        onItemClick={({ detail }) => choose(detail.id)}
        items={[
          ...views.map(({ name }) => ({ id: `open:${name}`, text: name })),
          {
            id: 'save',
            text: t('tasks.views.save'),
            ...((address === '' || views.length >= MOST) && {
              disabled: true,
              disabledReason: t(address ? 'tasks.views.tooMany' : 'tasks.views.usual'),
            }),
          },
          ...(current ? [{ id: 'delete', text: t('tasks.views.delete') }] : []),
        ]}
      >
        {current ? t('tasks.views.current', { name: current.name }) : t('tasks.views.title')}
      </ButtonDropdown>
      {naming && <NameView known={views} onSave={save} onClose={() => setNaming(false)} />}
    </>
  );
}

function NameView(props: { known: readonly View[]; onSave: (name: string) => void; onClose: () => void }) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState('');
  const [tried, setTried] = useState(false);
  const name = typed.trim();
  return (
    <FormModal
      title={t('tasks.views.save')}
      action={t('common.save')}
      busy={false}
      error={null}
      onSubmit={() => {
        setTried(true);
        if (name) props.onSave(name);
      }}
      onDismiss={props.onClose}
    >
      <FormField
        label={t('common.name')}
        description={t('tasks.views.hint')}
        constraintText={props.known.some((each) => each.name === name) && t('tasks.views.replaces')}
        errorText={tried && !name ? t('common.required') : ''}
      >
        <Input
          value={typed}
          autoComplete={false}
          onChange={({ detail }) => setTyped(detail.value.slice(0, 60))}
        />
      </FormField>
    </FormModal>
  );
}
