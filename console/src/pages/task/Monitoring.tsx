import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Grid from '@cloudscape-design/components/grid';
import Header from '@cloudscape-design/components/header';
import SegmentedControl from '@cloudscape-design/components/segmented-control';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Toggle from '@cloudscape-design/components/toggle';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { TaskGraphsDocument } from '../../api/generated';
import { nameOf, useApi } from '../../api/hooks';
import { usePreference } from '../../app/preferences';
import { ErrorAlert } from '../../components/ErrorAlert';
import { GRAPHS, type GraphId, type Series, seriesOf, useGraphTexts } from './graphs';
import { GraphTable } from './GraphTable';
import { type Span, SpanForm } from '../../components/SpanForm';
import type { TabProps } from '../../plugins/types';
import { useShown } from './tab';
import {
  type Last,
  moved,
  rangeInAddress,
  RANGES,
  readRange,
  spanOf,
  type TimeRange,
  zoomed,
} from './timeRange';

const GraphChart = lazy(async () => ({ default: (await import('./GraphChart')).GraphChart }));
const REFRESH = 10_000; // milliseconds; the hub measures as often

const now = () => Date.now() / 1000;

export function Monitoring({ task }: TabProps) {
  const api = useApi();
  const [shown, change] = useShown();
  const [tables, setTables] = usePreference('monitoring.tables', false);
  const [refreshes, setRefreshes] = useState(true);
  const range = readRange(shown);
  // Not `useData`: what is asked moves with the time, while it stays the same question.
  const graphs = useQuery({
    queryKey: [nameOf(TaskGraphsDocument), task.id, range],
    queryFn: async ({ signal }) => {
      const span = spanOf(range, now());
      const times = { startTime: span.from.toFixed(3), endTime: span.to.toFixed(3) };
      return { span, answer: await api.request(TaskGraphsDocument, { id: task.id, ...times }, signal) };
    },
    placeholderData: keepPreviousData,
    refetchInterval: refreshes ? REFRESH : false,
  });
  const { span, answer } = graphs.data ?? {};
  return (
    <SpaceBetween size="l">
      <Controls
        range={range}
        span={span ?? spanOf(range, now())}
        onChange={(range) => change(rangeInAddress(range))}
        refreshes={refreshes}
        onRefreshes={setRefreshes}
        tables={tables}
        onTables={setTables}
      />
      <ErrorAlert error={graphs.error} retry={() => void graphs.refetch()} />
      {answer && span ? (
        <Grid gridDefinition={GRAPHS.map(() => ({ colspan: { default: 12, s: 6 } }))}>
          {GRAPHS.map((id) => (
            <Graph key={id} id={id} series={seriesOf(answer[id])} span={span} table={tables} />
          ))}
        </Grid>
      ) : (
        !graphs.error && <Waiting />
      )}
    </SpaceBetween>
  );
}

function Controls(props: {
  range: TimeRange;
  span: Span;
  onChange: (range: TimeRange) => void;
  refreshes: boolean;
  onRefreshes: (on: boolean) => void;
  tables: boolean;
  onTables: (on: boolean) => void;
}) {
  const { t } = useTranslation();
  const { range, span, onChange } = props;
  const own = 'last' in range ? null : range;
  return (
    <SpaceBetween size="s">
      <SpaceBetween direction="horizontal" size="s" alignItems="center">
        <SegmentedControl
          label={t('detail.monitoring.range')}
          selectedId={'last' in range ? range.last : null}
          options={(Object.keys(RANGES) as Last[]).map((id) => ({
            id,
            text: t(`detail.monitoring.ranges.${id}`),
          }))}
          onChange={({ detail }) => onChange({ last: detail.selectedId as Last })}
        />
        <SpanForm label={t('detail.monitoring.custom')} span={own} onChange={onChange} />
        <SpaceBetween direction="horizontal" size="xxs">
          <Button
            iconName="angle-left"
            ariaLabel={t('detail.monitoring.earlier')}
            onClick={() => onChange(moved(span, -1, now()))}
          />
          <Button
            iconName="zoom-in"
            ariaLabel={t('detail.monitoring.zoomIn')}
            onClick={() => onChange(zoomed(span, 0.5, now()))}
          />
          <Button
            iconName="zoom-out"
            ariaLabel={t('detail.monitoring.zoomOut')}
            onClick={() => onChange(zoomed(span, 2, now()))}
          />
          <Button
            iconName="angle-right"
            ariaLabel={t('detail.monitoring.later')}
            onClick={() => onChange(moved(span, 1, now()))}
          />
        </SpaceBetween>
      </SpaceBetween>
      <SpaceBetween direction="horizontal" size="l">
        <Toggle checked={props.refreshes} onChange={({ detail }) => props.onRefreshes(detail.checked)}>
          {t('detail.monitoring.refresh')}
        </Toggle>
        <Toggle checked={props.tables} onChange={({ detail }) => props.onTables(detail.checked)}>
          {t('detail.monitoring.asTable')}
        </Toggle>
      </SpaceBetween>
    </SpaceBetween>
  );
}

function Graph(props: { id: GraphId; series: Series[]; span: Span; table: boolean }) {
  const { id, series, span } = props;
  const texts = useGraphTexts(id);
  return (
    <Container header={<Header variant="h2">{texts.title}</Header>}>
      {props.table ? (
        <GraphTable id={id} series={series} />
      ) : (
        <Suspense fallback={<Waiting />}>
          <GraphChart id={id} series={series} span={span} />
        </Suspense>
      )}
    </Container>
  );
}

function Waiting() {
  return (
    <Box textAlign="center" padding="xl">
      <Spinner size="large" />
    </Box>
  );
}
