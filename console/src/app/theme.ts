import { applyMode, Mode } from '@cloudscape-design/global-styles';
import { useSyncExternalStore } from 'react';

const KEY = 'dth.theme';
const listeners = new Set<() => void>();
let dark = false;

/** As chosen before, or as the system has it. */
export function initTheme() {
  const chosen = localStorage.getItem(KEY);
  show(chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches);
}

export function setDark(value: boolean) {
  localStorage.setItem(KEY, value ? 'dark' : 'light');
  show(value);
}

function show(value: boolean) {
  dark = value;
  applyMode(value ? Mode.Dark : Mode.Light);
  for (const listener of listeners) listener();
}

export const useDark = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => dark,
  );
