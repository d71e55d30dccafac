/** The kinds of task that the console has a folder for, and a fallback for all other kinds. */
import { useTranslation } from 'react-i18next';
import type { TaskPlugin } from './types';

const FOUND = import.meta.glob<TaskPlugin>('./*/index.ts', { eager: true, import: 'plugin' });

const PLUGINS: ReadonlyMap<string, TaskPlugin> = new Map(
  Object.values(FOUND)
    .toSorted((one, other) => one.order - other.order)
    .map((plugin) => [plugin.type, plugin]),
);

/** The kinds of task there are, in the order of lists: a hub's, or those known here while it has not been asked. */
export function kindsOf(hub: readonly string[] = [...PLUGINS.keys()]): string[] {
  const known = [...PLUGINS.keys()].filter((type) => hub.includes(type));
  return [...known, ...hub.filter((type) => !PLUGINS.has(type))];
}

export const pluginOf = (type: string | null | undefined): TaskPlugin =>
  PLUGINS.get(type ?? '') ?? unknown(type ?? '');

/** A kind without a folder: all that the console knows of it is what the hub says of its parameters. */
const unknown = (type: string): TaskPlugin => ({
  type,
  texts: '',
  order: Infinity,
  wizard: async (parameters) => (await import('./generic')).wizardOf(parameters),
  tabs: {},
  counts: [],
});

/** What a kind of task is called, and what it is for; its name in the API where the console has no text. */
export function useKindTexts() {
  const { t, i18n } = useTranslation();
  const text = (type: string | null | undefined, part: 'name' | 'about') => {
    const key = `${pluginOf(type).texts}.kind.${part}`;
    return i18n.exists(key) ? (t as unknown as (key: string) => string)(key) : '';
  };
  return {
    nameOf: (type: string | null | undefined) => text(type, 'name') || type || '-',
    aboutOf: (type: string) => text(type, 'about'),
  };
}
