export type Level = 'debug' | 'info' | 'warning' | 'error';

/** A line of a log, taken apart. `level` is "" where the line tells none: what a process printed. */
export interface LogLine {
  level: Level | '';
  text: string;
  fields: (readonly [name: string, value: string])[];
}

const LEVELS: Partial<Record<string, Level>> = {
  DEBUG: 'debug',
  INFO: 'info',
  WARNING: 'warning',
  WARN: 'warning',
  ERROR: 'error',
  CRITICAL: 'error',
};
const OWN = new Set(['at', 'time', 'timestamp', 'level', 'message']);
const MOST_FIELDS = 64; // a line with more that looks like fields is shown as it is

/** The hub tells a line as `LEVEL message name=JSON...`; other platforms give the JSON itself. */
export function parseLine(message: string): LogLine {
  return fromJson(message) ?? fromText(message);
}

function fromJson(message: string): LogLine | null {
  if (!message.startsWith('{')) return null;
  try {
    const entry = JSON.parse(message) as Record<string, unknown>;
    return {
      level: LEVELS[String(entry.level).toUpperCase()] ?? '',
      text: written(entry.message ?? ''),
      fields: Object.entries(entry).flatMap(([name, value]) =>
        OWN.has(name) ? [] : [[name, written(value)] as const],
      ),
    };
  } catch {
    return null;
  }
}

function fromText(message: string): LogLine {
  const [, word = '', rest = ''] = /^([A-Z]+) ([^]*)$/.exec(message) ?? [];
  const level = LEVELS[word];
  if (!level) return { level: '', text: message, fields: [] };
  const starts = [...rest.matchAll(/ (\w+)=/g)];
  if (starts.length <= MOST_FIELDS)
    for (const [index, start] of starts.entries()) {
      const fields = fieldsFrom(rest, starts.slice(index));
      if (fields) return { level, text: rest.slice(0, start.index), fields };
    }
  return { level, text: rest, fields: [] };
}

/** The fields that a text ends with, or null where it does not consist of them from the first of `starts` on. */
function fieldsFrom(text: string, starts: RegExpExecArray[]): LogLine['fields'] | null {
  const fields: (readonly [string, string])[] = [];
  let index = 0;
  while (index < starts.length) {
    const start = starts[index] as RegExpExecArray;
    const begin = start.index + start[0].length;
    let end = index + 1; // what looks like the next field may stand inside of a quoted text
    let value = parsed(text.slice(begin, starts[end]?.index));
    while (value === undefined && end < starts.length)
      value = parsed(text.slice(begin, starts[++end]?.index));
    if (value === undefined || fields.some(([name]) => name === start[1])) return null;
    fields.push([start[1] ?? '', written(value)]);
    index = end;
  }
  return fields;
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined;
  }
}

/** The kinds of which there are several processes, as "worker-*" for worker-1 and worker-2. */
export function kindsOf(streams: readonly string[]): string[] {
  const kinds = streams.flatMap((name) => /^[a-z]+[-/]/.exec(name) ?? []);
  const several = kinds.filter((kind, index) => kinds.indexOf(kind) < index);
  return [...new Set(several)].toSorted().map((kind) => `${kind}*`);
}

const written = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
