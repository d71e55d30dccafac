import { useParams, useSearchParams } from 'react-router';
import type { TaskDetailQuery } from '../../api/generated';

export type Task = NonNullable<TaskDetailQuery['getTask']>;

/** What every tab is given. `poll`: milliseconds between looks, by whether the task moves. */
export interface TabProps {
  task: Task;
  poll: number;
}

export const TABS = [
  'overview',
  'details',
  'engine',
  'runs',
  'objects',
  'monitoring',
  'logs',
  'events',
  'options',
  'audit',
] as const;
export type TabId = (typeof TABS)[number];

/** Where a tab is, with what it is to show. */
export function useTabPath(): (tab: TabId, shown?: Record<string, string>) => string {
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

/** Texts that speak of objects have a form that speaks of images. */
export const things = (task: Pick<Task, 'type'>): { context?: 'ECR' } =>
  task.type === 'ECR' ? { context: 'ECR' } : {};
