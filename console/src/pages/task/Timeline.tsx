import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SegmentedControl from '@cloudscape-design/components/segmented-control';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  colorTextStatusError,
  colorTextStatusInfo,
  colorTextStatusSuccess,
  colorTextStatusWarning,
} from '../../app/colors';
import { TaskMarkersDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { useFormat } from '../../format';
import { useOperationName } from '../admin/auditWords';
import type { Run } from './ledger';
import { useTextOr } from './textOr';
import {
  BY_HUB,
  HOUR,
  lanesOf,
  type Marker,
  MARKERS,
  type Range,
  RANGES,
  reasonOf,
  spansOf,
  usualRange,
} from './timeline';

const SIGNS: Record<Marker, string> = {
  pause: '❚❚',
  restart: '▶',
  retry: '↻',
  edit: '✎',
  stop: '■',
  fail: '✖',
};
const WAIT = 15_000; // milliseconds between looks at what happened, at least

function colorOf({ state, counts }: Run): string {
  if (state === 'FAILED') return colorTextStatusError;
  if (state !== 'DONE') return colorTextStatusInfo;
  return counts.failed + counts.delete_failed > 0 ? colorTextStatusWarning : colorTextStatusSuccess;
}

/** When the runs were, and what users and the hub did in between. The table of runs tells the same in words. */
export function Timeline({
  id,
  runs,
  now: end,
  poll,
}: {
  id: string;
  runs: Run[];
  /** When the runs were asked for, in epoch milliseconds. */
  now: number;
  poll: number;
}) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const spans = spansOf(runs, end);
  const [chosen, setChosen] = useState<Range | null>(null);
  const range = chosen ?? usualRange(spans, end);
  const start = Math.max(end - RANGES[range], range === 'all' ? (spans[0]?.from ?? end) : 0);
  const at = (time: number) => `${(100 * (Math.max(time, start) - start)) / Math.max(1, end - start)}%`;
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('detail.timeline.hint', { from: when(start), to: when(end) })}
          actions={
            <SegmentedControl
              label={t('detail.timeline.range')}
              selectedId={range}
              options={(Object.keys(RANGES) as Range[]).map((each) => ({
                id: each,
                text: t(`detail.timeline.ranges.${each}`),
              }))}
              onChange={({ detail }) => setChosen(detail.selectedId as Range)}
            />
          }
        >
          {t('detail.timeline.title')}
        </Header>
      }
    >
      <Markers id={id} start={start} end={end} at={at} poll={poll} />
      {lanesOf(spans.filter(({ to }) => to >= start)).map((lane) => (
        <ol key={lane[0]?.run.id} className="dth-lane" aria-label={t('detail.timeline.runs')}>
          {lane.map(({ run, from, to }) => (
            <Bar key={run.id} run={run} left={at(from)} right={at(to)} seconds={(to - from) / 1000} />
          ))}
        </ol>
      ))}
      <Box color="text-body-secondary" fontSize="body-s">
        {(Object.keys(SIGNS) as Marker[])
          .map((kind) => `${SIGNS[kind]} ${t(`detail.timeline.kind.${kind}`)}`)
          .join('\u2003')}
      </Box>
    </Container>
  );
}

function Bar({ run, left, right, seconds }: { run: Run; left: string; right: string; seconds: number }) {
  const { t } = useTranslation();
  const { when, duration } = useFormat();
  const textOr = useTextOr();
  const text = t('detail.timeline.run', {
    id: run.id,
    state: textOr(`detail.run.states.${run.state}`, run.state),
    from: when(run.startedAt),
    to: run.endedAt ? when(run.endedAt) : t('detail.timeline.now'),
    took: duration(seconds),
  });
  return (
    <li
      className="dth-span"
      style={{ left, width: `calc(${right} - ${left})`, backgroundColor: colorOf(run) }}
      title={text}
    >
      <span className="dth-unseen">{text}</span>
    </li>
  );
}

function Markers(props: {
  id: string;
  start: number;
  end: number;
  at: (time: number) => string;
  poll: number;
}) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const nameOf = useOperationName();
  // By the hour, so that the question stays the same while time goes on.
  const since = Math.floor(props.start / HOUR) * HOUR;
  const { data } = useData(
    TaskMarkersDocument,
    { id: props.id, what: Object.keys(MARKERS), since: new Date(since).toISOString() },
    { refetchInterval: Math.max(props.poll, WAIT) },
  );
  const done = (data?.listAudit.items ?? []).filter(
    ({ at, outcome }) => outcome.startsWith('ok') && Date.parse(at ?? '') >= props.start,
  );
  if (!done.length) return null;
  return (
    <ol className="dth-lane" aria-label={t('detail.timeline.markers')}>
      {done.map((entry) => {
        const time = Math.min(Date.parse(entry.at ?? ''), props.end);
        const what = nameOf(entry.what);
        const reason = reasonOf(entry);
        const text =
          entry.what in BY_HUB
            ? t(`detail.timeline.${reason ? 'markerWithReason' : 'markerOfHub'}`, {
                what,
                when: when(time),
                reason,
              })
            : t('detail.timeline.marker', { what, who: entry.who, when: when(time) });
        return (
          <li key={entry.id} className="dth-marker" style={{ left: props.at(time) }} title={text}>
            <span aria-hidden="true">{SIGNS[MARKERS[entry.what as keyof typeof MARKERS]]}</span>
            <span className="dth-unseen">{text}</span>
          </li>
        );
      })}
    </ol>
  );
}
