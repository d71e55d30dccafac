import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import Skeleton from '@cloudscape-design/components/skeleton';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import type { HomeQuery } from '../../api/generated';
import { useFormat } from '../../format';

const BarChart = lazy(() => import('@cloudscape-design/components/bar-chart'));
const HEIGHT = 180;

/** Bytes of each hour of the last day: in a sentence, as a chart, and in a table. */
export function LastDay({ day }: { day: HomeQuery['day'] }) {
  const { t } = useTranslation();
  const { bytes, number, locale } = useFormat();
  // An hour begins when the hub says, which need not be a whole one.
  const hours = day.points;
  const clock = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' });
  const weekday = new Intl.DateTimeFormat(locale, { weekday: 'short', hour: 'numeric', minute: '2-digit' });
  const busiest = hours.reduce((most, hour) => (hour.bytes > most.bytes ? hour : most), {
    at: 0,
    bytes: 0,
  });
  // The axis counts in the unit that fits, so that its steps are round numbers of it.
  const unit = 1024 ** Math.floor(Math.log2(Math.max(1, busiest.bytes)) / 10);
  const inBytes = (value: number) => bytes(value * unit);
  const summary =
    busiest.bytes > 0
      ? t('home.daySummary', {
          bytes: bytes(day.bytes),
          objects: number(day.objects),
          hour: clock.format(busiest.at * 1000),
          most: bytes(busiest.bytes),
        })
      : t('home.dayNothing');

  return (
    <Container header={<Header variant="h2">{t('home.lastDay')}</Header>}>
      <SpaceBetween size="m">
        <Box variant="p" color="text-body-secondary">
          {summary}
        </Box>
        {busiest.bytes > 0 && (
          <>
            <Suspense fallback={<Skeleton height={`${HEIGHT}px`} />}>
              <BarChart
                series={[
                  {
                    type: 'bar',
                    title: t('home.bytes'),
                    data: hours.map((hour) => ({ x: new Date(hour.at * 1000), y: hour.bytes / unit })),
                    valueFormatter: inBytes,
                  },
                ]}
                xScaleType="categorical"
                xDomain={hours.map((hour) => new Date(hour.at * 1000))}
                yDomain={[0, (1.05 * busiest.bytes) / unit]}
                height={HEIGHT}
                hideFilter
                hideLegend
                emphasizeBaselineAxis
                xTitle={t('home.hour')}
                yTitle={t('home.bytes')}
                ariaLabel={t('home.lastDay')}
                ariaDescription={summary}
                i18nStrings={{
                  xTickFormatter: (at) => clock.format(at as Date),
                  yTickFormatter: inBytes,
                  detailPopoverDismissAriaLabel: t('common.close'),
                }}
              />
            </Suspense>
            <ExpandableSection headerText={t('home.asTable')}>
              <Table
                variant="embedded"
                items={hours}
                trackBy={(hour) => String(hour.at)}
                ariaLabels={{ tableLabel: t('home.lastDay') }}
                columnDefinitions={[
                  {
                    id: 'hour',
                    header: t('home.hour'),
                    cell: (hour) => weekday.format(hour.at * 1000),
                    isRowHeader: true,
                  },
                  { id: 'bytes', header: t('home.bytes'), cell: (hour) => bytes(hour.bytes) },
                  { id: 'objects', header: t('home.objects'), cell: (hour) => number(hour.objects) },
                  { id: 'failed', header: t('home.failedObjects'), cell: (hour) => number(hour.failed) },
                ]}
              />
            </ExpandableSection>
          </>
        )}
      </SpaceBetween>
    </Container>
  );
}
