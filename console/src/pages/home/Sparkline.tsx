import { useTranslation } from 'react-i18next';
import { colorTextStatusInfo } from '../../app/colors';
import { TaskRateDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { useFormat } from '../../format';

const WIDTH = 120;
const HEIGHT = 24;
const STEP = 120; // seconds between two points
const EVERY = 30_000; // milliseconds between looks

/** How fast a busy task was in the last hour; nothing where that was not measured. */
export function Sparkline({ task }: { task: string }) {
  const { t } = useTranslation();
  const { rate } = useFormat();
  const { data } = useData(TaskRateDocument, { id: task, period: STEP }, { refetchInterval: EVERY });
  const sent = data?.getMetricHistoryData?.series?.find((each) => each?.name === 'BytesSent');
  const values = (sent?.data ?? []).filter((value) => value !== null);
  if (values.length < 2) return null;
  const most = Math.max(...values);
  const text = t('home.sparkline', { least: rate(Math.min(...values)), most: rate(most) });
  const points = values.map((value, index) => {
    const x = (index / (values.length - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 1 - (value / (most || 1)) * (HEIGHT - 2)).toFixed(1)}`;
  });
  return (
    <svg role="img" aria-label={text} width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`}>
      <title>{text}</title>
      <polyline points={points.join(' ')} fill="none" stroke={colorTextStatusInfo} strokeWidth="1.5" />
    </svg>
  );
}
