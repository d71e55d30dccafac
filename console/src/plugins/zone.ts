/** Time zones. What a clock shows is in milliseconds as if it were UTC. */

/** The zone of tasks that name none. */
export const UTC = 'UTC';

const clocks = new Map<string, Intl.DateTimeFormat>();

function clockOf(zone: string): Intl.DateTimeFormat {
  let found = clocks.get(zone);
  if (!found) {
    found = new Intl.DateTimeFormat('en', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    clocks.set(zone, found);
  }
  return found;
}

/** What the clock of a zone shows at a moment. */
export function clockAt(moment: number, zone: string): number {
  const parts: Record<string, number> = {};
  for (const { type, value } of clockOf(zone).formatToParts(moment)) parts[type] = Number(value);
  return Date.UTC(parts.year!, parts.month! - 1, parts.day, parts.hour, parts.minute, parts.second);
}

const DAY = 86_400_000;

/** When the clock of a zone first shows a time; undefined where it skips it. */
export function momentOf(shown: number, zone: string): number | undefined {
  // By the difference to UTC before a change of the clock, and after it.
  const moments = [shown - DAY, shown + DAY].map((near) => shown - (clockAt(near, zone) - near));
  return moments.toSorted((a, b) => a - b).find((moment) => clockAt(moment, zone) === shown);
}

/** Whether it is the name of a zone, as this browser knows them. */
export function isZone(name: string): boolean {
  try {
    return /^[a-z]/i.test(name) && Boolean(clockOf(name));
  } catch {
    return false;
  }
}

/** The user's own. */
export const ownZone = (): string => new Intl.DateTimeFormat().resolvedOptions().timeZone;
