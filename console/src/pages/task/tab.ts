import { useParams, useSearchParams } from 'react-router';
import type { Task } from '../../plugins/types';

/** Where a tab is, with what it is to show. */
export function useTabPath(): (tab: string, shown?: Record<string, string>) => string {
  const { id = '' } = useParams();
  return (tab, shown = {}) => `/tasks/${id}?${new URLSearchParams({ tab, ...shown }).toString()}`;
}

/** What a tab shows, in the address: `change` sets what is given, and takes away what is empty. */
export function useShown(): [URLSearchParams, (changes: Record<string, string>) => void] {
  const [shown, setShown] = useSearchParams();
  const change = (changes: Record<string, string>) =>
    setShown(
      (before) => {
        const after = new URLSearchParams(before);
        for (const [name, value] of Object.entries(changes))
          if (value) after.set(name, value);
          else after.delete(name);
        return after;
      },
      { replace: true },
    );
  return [shown, change];
}

/** A parameter's value as the task was given it; "" where it was not. */
export function parameter(task: Task, name: string): string {
  return task.parameters?.find((each) => each?.ParameterKey === name)?.ParameterValue ?? '';
}
