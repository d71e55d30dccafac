import { useState } from 'react';
import { useSession } from './session';

/** A choice of how things are shown that a user keeps in this browser: columns, page sizes. */
export function usePreference<T>(name: string, initial: T): [T, (value: T) => void] {
  const { name: user } = useSession();
  const key = `dth.preference.${user}.${name}`;
  const [value, setValue] = useState<T>(() => read(key, initial));
  const keep = (next: T) => {
    localStorage.setItem(key, JSON.stringify(next));
    setValue(next);
  };
  return [value, keep];
}

function read<T>(key: string, initial: T): T {
  try {
    const kept = localStorage.getItem(key);
    return kept === null ? initial : (JSON.parse(kept) as T);
  } catch {
    return initial; // written by an older console, or by hand
  }
}
