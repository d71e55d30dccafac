import { useTranslation } from 'react-i18next';
import type { TaskGraphsQuery } from '../../api/generated';
import { useFormat } from '../../format';
import { useTextOr } from './textOr';

export const GRAPHS = [
  'Network',
  'TransferredFailedObjects',
  'RunningWaitingJobHistory',
  'DesiredInServiceInstances',
  'Latency',
  'Errors',
] as const satisfies readonly (keyof TaskGraphsQuery)[];
export type GraphId = (typeof GRAPHS)[number];

export interface Point {
  at: number; // epoch seconds
  value: number;
}
/** What was measured, in stretches without a gap: where nothing was measured, no line is drawn. */
export interface Series {
  name: string;
  stretches: Point[][];
}

export function seriesOf(graph: TaskGraphsQuery[GraphId]): Series[] {
  const times = graph?.xaxis?.categories ?? [];
  return (graph?.series ?? []).flatMap((series) =>
    series ? [{ name: series.name ?? '', stretches: stretchesOf(times, series.data ?? []) }] : [],
  );
}

function stretchesOf(times: readonly (number | null)[], data: readonly (number | null)[]): Point[][] {
  const stretches: Point[][] = [];
  let current: Point[] | null = null;
  for (const [index, at] of times.entries()) {
    const value = data[index] ?? null;
    if (value === null || at === null) current = null;
    else if (current) current.push({ at, value });
    else stretches.push((current = [{ at, value }]));
  }
  return stretches;
}

export interface Row {
  at: number;
  values: (number | null)[]; // in the order of the series
}

/** The same as rows, newest first, without those in which nothing was measured. */
export function rowsOf(series: readonly Series[]): Row[] {
  const rows = new Map<number, (number | null)[]>();
  for (const [index, { stretches }] of series.entries())
    for (const { at, value } of stretches.flat()) {
      const values = rows.get(at) ?? series.map(() => null);
      values[index] = value;
      rows.set(at, values);
    }
  return [...rows].toSorted(([a], [b]) => b - a).map(([at, values]) => ({ at, values }));
}

/** How a graph's values and the names of its series are written. */
export function useGraphTexts(id: GraphId) {
  const { t } = useTranslation();
  const { number, rate } = useFormat();
  const textOr = useTextOr();
  return {
    title: t(`detail.monitoring.graphs.${id}`),
    name: (series: string) => textOr(`detail.monitoring.series.${series}`, series),
    value(value: number | null): string {
      if (value === null) return '-';
      if (id === 'Network') return rate(value);
      if (id === 'Latency') return t('format.milliseconds', { count: Math.round(value * 10) / 10 });
      return number(value, 1);
    },
  };
}
