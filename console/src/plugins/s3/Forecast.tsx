import Box from '@cloudscape-design/components/box';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';

/** A number and its band, which is not wider than the number where it was counted. */
export interface Amount {
  value: number;
  low: number;
  high: number;
}

/** What `forecast.py` reckoned. */
export interface ForecastResult {
  sampled: boolean;
  objects: Amount;
  same: Amount;
  filtered: Amount;
  archived: Amount;
  refused: Amount;
  copies: Amount;
  copy_bytes: Amount;
  deletes: Amount;
  requests: Record<string, Amount>;
  seconds: Amount | null;
  /** Null where the prices of a store are not known. */
  cost: Record<'requests' | 'storage_class' | 'transfer' | 'total', Amount> | null;
  compared: number;
  notes: string[];
  prices: string;
}

export function Forecast({ result }: { result: string }) {
  const { t } = useTranslation();
  const { number, bytes, duration, money } = useFormat();
  const found = JSON.parse(result) as ForecastResult;

  function band({ value, low, high }: Amount, text: (value: number) => string): string {
    const [least, likely, most] = [text(low), text(value), text(high)];
    return least === most ? likely : t('s3.forecast.band', { likely, least, most });
  }
  const counts = (['objects', 'same', 'filtered', 'archived', 'refused', 'deletes'] as const).filter(
    (name) => name === 'objects' || found[name].high > 0,
  );
  const total = Object.values(found.requests).reduce(
    (sum, each) => ({
      value: sum.value + each.value,
      low: sum.low + each.low,
      high: sum.high + each.high,
    }),
    { value: 0, low: 0, high: 0 },
  );
  const kinds = Object.entries(found.requests).filter(([, each]) => each.high > 0);
  const { cost } = found;
  const costs = (['requests', 'storage_class', 'transfer'] as const).flatMap((part) =>
    cost && cost[part].high > 0 ? [`${t(`s3.forecast.of.${part}`)}: ${band(cost[part], money)}`] : [],
  );

  return (
    <SpaceBetween size="m">
      <Box variant="p">
        {found.sampled
          ? t('s3.forecast.sampled', { compared: number(found.compared) })
          : t('s3.forecast.counted')}
      </Box>
      <KeyValuePairs
        columns={4}
        items={[
          { label: t('s3.forecast.copies'), value: band(found.copies, number) },
          { label: t('s3.forecast.bytes'), value: band(found.copy_bytes, bytes) },
          {
            label: t('s3.forecast.time'),
            value: found.seconds ? band(found.seconds, duration) : t('s3.forecast.noTime'),
          },
          { label: t('s3.forecast.cost'), value: cost ? band(cost.total, money) : '-' },
        ]}
      />
      <KeyValuePairs
        columns={3}
        items={[
          {
            label: t('s3.forecast.found'),
            value: (
              <Lines
                lines={counts.map((name) => `${t(`s3.forecast.${name}`)}: ${band(found[name], number)}`)}
              />
            ),
          },
          {
            label: t('s3.forecast.requests'),
            value: (
              <Lines
                lines={[
                  band(total, number),
                  ...kinds.map(([kind, amount]) => `${kind}: ${band(amount, number)}`),
                ]}
              />
            ),
          },
          {
            label: t('s3.forecast.costs'),
            value: <Lines lines={[...costs, found.prices]} />,
          },
        ]}
      />
      {found.notes.length > 0 && (
        <Box variant="div" color="text-body-secondary">
          <ul>
            {found.notes.map((note) => (
              <li key={note}>
                <HubText>{note}</HubText>
              </li>
            ))}
          </ul>
        </Box>
      )}
    </SpaceBetween>
  );
}

function Lines({ lines }: { lines: string[] }) {
  return lines.map((line) => (
    <div key={line} className="dth-break">
      {line}
    </div>
  ));
}
