import { useState } from 'react';
import { useSession } from '../../app/session';
import type { TaskForm } from '../../plugins/form';

interface Draft {
  form: TaskForm;
  /** Where the wizard is. */
  step: number;
}

/** What is typed, kept in this tab, so that a reload loses nothing. */
export function useDraft(name: string, initial: TaskForm) {
  const { name: user } = useSession();
  const key = `dth.draft.${user}.${name}`;
  const [draft, setDraft] = useState<Draft>(() => read(key) ?? { form: initial, step: 0 });

  function keep(change: (draft: Draft) => Draft) {
    setDraft((before) => {
      const next = change(before);
      sessionStorage.setItem(key, JSON.stringify({ ...next, form: withoutSecrets(next.form) }));
      return next;
    });
  }
  return { ...draft, keep, forget: () => sessionStorage.removeItem(key) };
}

function read(key: string): Draft | undefined {
  const kept = sessionStorage.getItem(key);
  return kept ? (JSON.parse(kept) as Draft) : undefined;
}

/** A proxy's address may hold a password. */
function withoutSecrets(form: TaskForm): TaskForm {
  const values = Object.entries(form.values).filter(([, text]) => !/:\/\/[^/\s]*@/.test(text));
  return { ...form, values: Object.fromEntries(values) };
}
