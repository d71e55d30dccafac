import type { Span } from '../../components/SpanForm';

/** Lengths of time to look back, in seconds. */
export const RANGES = {
  '1h': 3_600,
  '3h': 10_800,
  '12h': 43_200,
  '1d': 86_400,
  '3d': 259_200,
  '1w': 604_800,
} as const;
export type Last = keyof typeof RANGES;

export type TimeRange = { last: Last } | Span;

const NARROWEST = 60; // seconds: six measurements

/** What the address says; the last hour where it says nothing that can be. */
export function readRange(shown: URLSearchParams): TimeRange {
  const from = Number(shown.get('from'));
  const to = Number(shown.get('to'));
  if (from > 0 && to > from) return { from, to };
  const last = shown.get('range') ?? '';
  return { last: Object.hasOwn(RANGES, last) ? (last as Last) : '1h' };
}

/** The same for the address. */
export const rangeInAddress = (range: TimeRange): Record<string, string> =>
  'last' in range
    ? { range: range.last, from: '', to: '' }
    : { range: '', from: String(Math.round(range.from)), to: String(Math.round(range.to)) };

export const spanOf = (range: TimeRange, now: number): Span =>
  'last' in range ? { from: now - RANGES[range.last], to: now } : range;

/** A span `factor` times as long round the same middle; never beyond now, where nothing has been measured. */
export function zoomed({ from, to }: Span, factor: number, now: number): Span {
  const length = Math.max(NARROWEST, (to - from) * factor);
  return within((from + to) / 2 - length / 2, length, now);
}

/** The span before or after, half of it in common. */
export const moved = ({ from, to }: Span, direction: -1 | 1, now: number): Span =>
  within(from + (direction * (to - from)) / 2, to - from, now);

function within(from: number, length: number, now: number): Span {
  const to = Math.min(now, from + length);
  return { from: Math.max(1, to - length), to };
}
