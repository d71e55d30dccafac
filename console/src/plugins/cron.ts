/**
 * Cron expressions as Amazon EventBridge has them, by the clock of a time zone: six fields, one of the two day fields
 * `?`.
 */
import { clockAt, momentOf } from './zone';

interface Field {
  low: number;
  high: number;
  names: readonly string[];
}
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
const FIELDS: readonly Field[] = [
  { low: 0, high: 59, names: [] },
  { low: 0, high: 23, names: [] },
  { low: 1, high: 31, names: [] },
  { low: 1, high: 12, names: MONTHS },
  { low: 1, high: 7, names: DAYS },
  { low: 1970, high: 2199, names: [] },
];
const DAY_OF_MONTH = 2;
const DAY_OF_WEEK = 4;
const HORIZON = 366 * 8; // days: a 29 February comes within

/**
 * The values of each field; null for `?`, and for the days that only the hub reckons (L, W, #). Undefined: it cannot be
 * read.
 */
function parse(text: string): { fields: (Set<number> | null)[]; special: boolean } | undefined {
  const inner = /^\s*cron\s*\((.*)\)\s*$/i.exec(text)?.[1] ?? text;
  const words = inner.trim().toUpperCase().split(/\s+/);
  if (words.length !== FIELDS.length) return undefined;
  if ((words[DAY_OF_MONTH] === '?') === (words[DAY_OF_WEEK] === '?')) return undefined;
  let special = false;
  const fields: (Set<number> | null)[] = [];
  for (const [place, word] of words.entries()) {
    const isDay = place === DAY_OF_MONTH || place === DAY_OF_WEEK;
    if (isDay && /^(\?|[\w,-]*L|LW|\d+W|\w+#[1-5])$/.test(word)) {
      special ||= word !== '?';
      fields.push(null);
      continue;
    }
    const values = new Set<number>();
    for (const part of word.split(',')) {
      const found = part && valuesOf(part, FIELDS[place]!);
      if (!found) return undefined;
      for (const value of found) values.add(value);
    }
    fields.push(values);
  }
  return { fields, special };
}

/** `*`, `5`, `1-5`, each also with a step; `5/10` goes on to the end. Null: it cannot be read. */
function valuesOf(part: string, { low, high, names }: Field): number[] | null {
  const found = /^(\*|\w+)(?:-(\w+))?(?:\/(\d+))?$/.exec(part);
  if (!found) return null;
  const value = (text: string) => {
    const named = names.indexOf(text);
    return named >= 0 ? named + low : /^\d+$/.test(text) ? Number(text) : NaN;
  };
  const [, first = '', last, step] = found;
  const start = first === '*' ? low : value(first);
  let end = last ? value(last) : first === '*' || step ? high : start;
  const within = (number: number) => number >= low && number <= high;
  if (!within(start) || !within(end) || step === '0') return null;
  const span = high - low + 1;
  if (end < start) end += span; // FRI-MON
  const values: number[] = [];
  for (let number = start; number <= end; number += Number(step ?? 1))
    values.push(((number - low) % span) + low);
  return values;
}

/** A plain timetable: times of a day, or a step, on all days, some days of the week, or one day of the month. */
export interface CronWords {
  every?: { unit: 'minute' | 'hour'; count: number; minute: number };
  at?: { hour: number; minute: number };
  weekdays?: number[]; // 0 is Sunday
  day?: number;
}

/** What a cron expression says, where a few words can say it. */
export function cronWords(text: string): CronWords | undefined {
  const parsed = parse(text);
  if (!parsed || parsed.special) return undefined;
  const isAll = (place: number) => {
    const { low, high } = FIELDS[place]!;
    return (parsed.fields[place]?.size ?? high - low + 1) === high - low + 1;
  };
  const [minutes, hours, days, , weekdays] = parsed.fields.map(
    (field) => field && [...field].toSorted((a, b) => a - b),
  );
  if (!minutes || !hours || !isAll(3) || !isAll(5)) return undefined;
  const minute = minutes[0]!;
  const found: CronWords = {};
  const minuteStep = stepOf(minutes, 60);
  const hourStep = minutes.length === 1 ? stepOf(hours, 24) : undefined;
  if (hours.length === 24 && minuteStep && minuteStep < 60)
    found.every = { unit: 'minute', count: minuteStep, minute: 0 };
  else if (hourStep && hourStep < 24) found.every = { unit: 'hour', count: hourStep, minute };
  else if (hours.length === 1 && minutes.length === 1) found.at = { hour: hours[0]!, minute };
  else return undefined;
  if (!isAll(DAY_OF_WEEK)) found.weekdays = weekdays!.map((day) => day - 1);
  if (!isAll(DAY_OF_MONTH)) {
    if (days?.length !== 1) return undefined;
    found.day = days[0]!;
  }
  return found;
}

/** The step of values that go round evenly from 0; undefined where they do not. */
function stepOf(values: number[], span: number): number | undefined {
  const step = span / values.length;
  return Number.isInteger(step) && values.every((value, place) => value === place * step) ? step : undefined;
}

export const isCron = (text: string): boolean => parse(text) !== undefined;

/**
 * The next moments (in milliseconds) after one, by the clock of a zone; none where only the hub can tell. A time that
 * the clock skips does not come, and one that it repeats comes once.
 */
export function nextRuns(text: string, after: number, count: number, zone: string): number[] {
  const parsed = parse(text);
  if (!parsed || parsed.special) return [];
  const [minutes, hours, days, months, weekdays, years] = parsed.fields;
  const found: number[] = [];
  const now = clockAt(after, zone);
  const start = new Date(now);
  for (let day = 0; day < HORIZON && found.length < count; day += 1) {
    const date = new Date(Date.UTC(start.getUTCFullYear(), start.getUTCMonth(), start.getUTCDate() + day));
    const fits =
      (years?.has(date.getUTCFullYear()) ?? true) &&
      (months?.has(date.getUTCMonth() + 1) ?? true) &&
      (days?.has(date.getUTCDate()) ?? true) &&
      (weekdays?.has(date.getUTCDay() + 1) ?? true);
    if (!fits) continue;
    for (let minute = 0; minute < 1440 && found.length < count; minute += 1) {
      const shown = date.getTime() + minute * 60_000;
      if (shown < now - 60_000 || !hours?.has(Math.floor(minute / 60)) || !minutes?.has(minute % 60))
        continue;
      const moment = momentOf(shown, zone);
      if (moment !== undefined && moment > after) found.push(moment);
    }
  }
  return found;
}
