import type { HomeQuery } from '../../api/generated';

export type Task = NonNullable<NonNullable<NonNullable<HomeQuery['recent']>['items']>[number]>;
type Page = HomeQuery['recent'];

export const tasksOf = (page: Page): Task[] => (page?.items ?? []).filter((each) => each !== null);

/** Midnight in the user's zone, as the API wants times. */
export function startOfToday(): string {
  return new Date(new Date().setHours(0, 0, 0, 0)).toISOString();
}
