import type { HomeQuery } from '../../api/generated';

export type Task = NonNullable<NonNullable<NonNullable<HomeQuery['recent']>['items']>[number]>;
type Page = HomeQuery['recent'];

export const tasksOf = (page: Page): Task[] => (page?.items ?? []).filter((each) => each !== null);

/** Midnight in the user's zone, as the API wants times. */
export function startOfToday(): string {
  return new Date(new Date().setHours(0, 0, 0, 0)).toISOString();
}

/** Tasks that wait for somebody to act, and those that could not copy all of it. */
export function needingAttention(home: Pick<HomeQuery, 'halted' | 'recent'>): Task[] {
  const halted = tasksOf(home.halted);
  const known = new Set(halted.map((task) => task.id));
  const failed = tasksOf(home.recent).filter(
    (task) => !known.has(task.id) && (task.progressInfo?.failed ?? 0) > 0,
  );
  return [...halted, ...failed];
}
