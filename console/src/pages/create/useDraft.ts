import { useEffect, useState } from 'react';
import { useSession } from '../../app/session';
import type { TaskForm } from '../../plugins/types';

interface Draft {
  form: TaskForm;
  /** What it began from: only what the user changed is sent, whatever others changed meanwhile. */
  initial: TaskForm;
  /** Where the wizard is. */
  step: number;
}

/** What is typed, kept in this tab, so that a reload loses nothing. */
export function useDraft(name: string, initial: TaskForm) {
  const { name: user } = useSession();
  const key = `dth.draft.${user}.${name}`;
  const [draft, setDraft] = useState<Draft>(() => read(key) ?? { form: initial, initial, step: 0 });

  useEffect(() => {
    if (draft.form !== draft.initial || draft.step > 0) write(key, draft);
  }, [key, draft]);

  return {
    ...draft,
    keep: (change: (draft: Draft) => Draft) => setDraft(change),
    forget: () => sessionStorage.removeItem(key),
  };
}

function read(key: string): Draft | undefined {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key) ?? 'null') as Partial<Draft> | null;
    return kept?.form && kept.initial
      ? { form: kept.form, initial: kept.initial, step: kept.step ?? 0 }
      : undefined;
  } catch {
    return undefined; // written by hand
  }
}

function write(key: string, draft: Draft) {
  try {
    sessionStorage.setItem(key, JSON.stringify({ ...draft, form: withoutSecrets(draft.form) }));
  } catch {
    sessionStorage.removeItem(key); // it does not fit: then a reload loses it, and half of it would be worse
  }
}

/** A proxy's address may hold a password. */
function withoutSecrets(form: TaskForm): TaskForm {
  const values = Object.entries(form.values).filter(([, text]) => !/:\/\/[^/\s]*@/.test(text));
  return { ...form, values: Object.fromEntries(values) };
}
