import Autosuggest, { type AutosuggestProps } from '@cloudscape-design/components/autosuggest';
import Modal from '@cloudscape-design/components/modal';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { TasksDocument } from '../api/generated';
import { useData } from '../api/hooks';
import { taskName } from '../components/taskName';
import { printable } from '../components/visible';
import { PAGES } from './pages';
import { useSession } from './session';

const PAUSE = 200; // milliseconds after the last key before the hub is asked
const FOUND = 8;

/** A search that leads to any task or page. */
export function Jump({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { may } = useSession();
  const field = useRef<AutosuggestProps.Ref>(null);
  useEffect(() => {
    // The dialog itself goes to its first button as it opens.
    const timer = setTimeout(() => field.current?.focus());
    return () => clearTimeout(timer);
  }, []);
  const [typed, setTyped] = useState('');
  const [asked, setAsked] = useState('');
  useEffect(() => {
    const timer = setTimeout(() => setAsked(typed.trim()), PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  const tasks = useData(TasksDocument, { text: asked || null, count: FOUND, orderBy: 'updated' });

  const pages = PAGES.filter(({ role }) => !role || may(role))
    .map(({ page, href }) => ({ value: href, label: t(`nav.${page}`) }))
    .filter(({ label }) => label.toLowerCase().includes(typed.trim().toLowerCase()));
  const found = (tasks.data?.listTasksV2?.items ?? [])
    .filter((task) => task !== null)
    .map((task) => ({
      value: `/tasks/${task.id}`,
      label: printable(taskName(task)),
      description: printable(`${task.source ?? ''} → ${task.destination ?? ''}`),
    }));
  const options: AutosuggestProps.Options = [
    ...(found.length ? [{ label: t('nav.tasks'), options: found }] : []),
    ...(pages.length ? [{ label: t('nav.label'), options: pages }] : []),
  ];
  return (
    <Modal
      visible
      position="top"
      header={t('top.jump')}
      closeAriaLabel={t('common.close')}
      onDismiss={onClose}
    >
      <Autosuggest
        ref={field}
        value={typed}
        options={options}
        filteringType="manual"
        ariaLabel={t('top.jumpHint')}
        placeholder={t('top.jumpHint')}
        empty={t('common.noMatch')}
        statusType={tasks.isFetching ? 'loading' : 'finished'}
        loadingText={t('common.loading')}
        enteredTextLabel={(text) => text}
        hideEnteredTextOption
        onChange={({ detail }) => setTyped(detail.value)}
        onSelect={({ detail }) => {
          // Enter without a choice gives what was typed: that means the first one found.
          const settled = asked === typed.trim() && !tasks.isPlaceholderData;
          const known = [...found, ...pages];
          const chosen =
            known.find(({ value }) => value === detail.value) ?? (settled ? known[0] : undefined);
          if (!chosen) return;
          void navigate(chosen.value);
          onClose();
        }}
      />
    </Modal>
  );
}
