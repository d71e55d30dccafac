import type { HomeQuery } from '../../api/generated';

export type Task = NonNullable<NonNullable<NonNullable<HomeQuery['recent']>['items']>[number]>;
type Page = HomeQuery['recent'];
type Point = HomeQuery['day']['points'][number];

const HOUR = 3600; // seconds

export const tasksOf = (page: Page): Task[] => (page?.items ?? []).filter((each) => each !== null);

/** Midnight in the user's zone, as the API wants times. */
export function startOfToday(): string {
  return new Date(new Date().setHours(0, 0, 0, 0)).toISOString();
}

/** What was done in each hour of the last day; the hub's steps may be shorter. */
export function hourly(points: readonly Point[]): Point[] {
  const hours = new Map<number, Point>();
  for (const point of points) {
    const at = Math.floor(point.at / HOUR) * HOUR;
    const hour = hours.get(at) ?? { at, bytes: 0, objects: 0, failed: 0 };
    hour.bytes += point.bytes;
    hour.objects += point.objects;
    hour.failed += point.failed;
    hours.set(at, hour);
  }
  return [...hours.values()].toSorted((one, other) => one.at - other.at);
}

/** Tasks that go on only when somebody does something, and those that could not copy all of it. */
export function needingAttention(home: Pick<HomeQuery, 'halted' | 'recent'>): Task[] {
  const halted = tasksOf(home.halted);
  const known = new Set(halted.map((task) => task.id));
  const failed = tasksOf(home.recent).filter(
    (task) => !known.has(task.id) && (task.progressInfo?.failed ?? 0) > 0,
  );
  return [...halted, ...failed];
}
