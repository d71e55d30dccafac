import Box from '@cloudscape-design/components/box';
import LineChart from '@cloudscape-design/components/line-chart';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import {
  colorChartsPaletteCategorical1,
  colorChartsPaletteCategorical2,
  colorChartsPaletteCategorical3,
} from '../../app/colors';
import { Empty } from '../../components/Empty';
import { useFormat } from '../../format';
import { type GraphId, type Point, type Series, useGraphTexts } from './graphs';
import type { Span } from '../../components/SpanForm';

const COLORS = [
  colorChartsPaletteCategorical1,
  colorChartsPaletteCategorical2,
  colorChartsPaletteCategorical3,
];
const HEIGHT = 220; // pixels
const DAY = 86_400; // seconds

/** A measurement between two gaps would be a dot that nobody finds: it gets a little length. */
function drawn(points: Point[], span: Span): Point[] {
  const [only] = points;
  if (!only || points.length > 1) return points;
  return [only, { at: only.at + (span.to - span.from) / 150, value: only.value }];
}

/** A graph as lines. The chart draws one line a series without gaps, so that each stretch is a line of its own. */
export function GraphChart({ id, series, span }: { id: GraphId; series: Series[]; span: Span }) {
  const { t } = useTranslation();
  const { locale, when } = useFormat();
  const texts = useGraphTexts(id);
  const highest = Math.max(
    0,
    ...series.flatMap(({ stretches }) => stretches.flat().map((point) => point.value)),
  );
  const tick = new Intl.DateTimeFormat(locale, {
    ...(span.to - span.from > DAY ? { month: 'numeric', day: 'numeric' } : {}),
    hour: '2-digit',
    minute: '2-digit',
    ...(span.to - span.from < 600 ? { second: '2-digit' } : {}),
  });
  const lines = series.flatMap(({ name, stretches }, index) =>
    stretches.map((points) => ({
      type: 'line' as const,
      title: texts.name(name),
      color: COLORS[index % COLORS.length] ?? '',
      data: drawn(points, span).map(({ at, value }) => ({ x: new Date(at * 1000), y: value })),
      valueFormatter: (value: number) => texts.value(value),
    })),
  );
  return (
    <SpaceBetween size="xs">
      <LineChart
        ariaLabel={texts.title}
        series={lines}
        xScaleType="time"
        xDomain={[new Date(span.from * 1000), new Date(span.to * 1000)]}
        yDomain={[0, highest > 0 ? highest * 1.1 : 1]}
        height={HEIGHT}
        hideFilter
        hideLegend
        i18nStrings={{ detailPopoverDismissAriaLabel: t('common.close') }}
        xTickFormatter={(date) => tick.format(date)}
        yTickFormatter={(value) => texts.value(value)}
        detailPopoverSeriesContent={({ series, y }) => ({ key: series.title, value: texts.value(y) })}
        detailPopoverFooter={(date) => when(date.getTime())}
        empty={<Empty title={t('detail.monitoring.noData')} hint={t('detail.monitoring.noDataHint')} />}
      />
      {lines.length > 0 && (
        <SpaceBetween direction="horizontal" size="m">
          {series.map(({ name, stretches }, index) => (
            <SpaceBetween key={name} direction="horizontal" size="xxs" alignItems="center">
              <svg width="16" height="8" aria-hidden>
                <rect y="2" width="16" height="4" rx="2" fill={COLORS[index % COLORS.length]} />
              </svg>
              <Box fontSize="body-s">{texts.name(name)}</Box>
              <Box fontSize="body-s" color="text-body-secondary">
                {texts.value(stretches.at(-1)?.at(-1)?.value ?? null)}
              </Box>
            </SpaceBetween>
          ))}
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}
