import Link from '@cloudscape-design/components/link';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { TableProps } from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { TaskImagesQuery } from '../../api/generated';
import { Copyable } from '../../components/Copyable';
import { useFormat } from '../../format';
import { KIND } from '../../pages/task/recordColumns';

export type ImageRecord = TaskImagesQuery['listImages']['items'][number];

export const COLUMNS = [
  'key',
  'status',
  'source',
  'sourceDigest',
  'destDigest',
  'size',
  'moved',
  'skipped',
  'seconds',
  'attempts',
  'reason',
  'detail',
  'platforms',
  'run',
  'updated',
] as const;
type Column = (typeof COLUMNS)[number];
export const USUAL: readonly Column[] = [
  'key',
  'status',
  'sourceDigest',
  'size',
  'moved',
  'seconds',
  'reason',
  'detail',
  'updated',
];
const WIDTH: Partial<Record<Column, number>> = {
  key: 240,
  status: 130,
  source: 240,
  sourceDigest: 220,
  destDigest: 220,
  size: 95,
  moved: 95,
  seconds: 80,
  attempts: 105,
  run: 70,
  detail: 260,
  reason: 190,
  updated: 150,
};
const DIGITS = 19; // sha256: and the first twelve, as people tell digests apart

const whole = (text: string) => <span className="dth-break">{text || '-'}</span>;
const digest = (text: string) => (text ? <Copyable text={text} shown={text.slice(0, DIGITS)} /> : '-');

/** `onHistory` is called with the image whose history is asked for. */
export function useImageColumns(
  onHistory?: (key: string) => void,
): TableProps.ColumnDefinition<ImageRecord>[] {
  const { t } = useTranslation();
  const { number, bytes, when } = useFormat();
  const cells: Record<Column, (image: ImageRecord) => ReactNode> = {
    key: (image) =>
      onHistory ? (
        <Link ariaLabel={t('ecr.images.historyOf', { key: image.key })} onFollow={() => onHistory(image.key)}>
          <span className="dth-break">{image.key}</span>
        </Link>
      ) : (
        whole(image.key)
      ),
    status: (image) => (
      <StatusIndicator type={KIND[image.status]}>
        {t(`detail.objects.statuses.${image.status}`)}
      </StatusIndicator>
    ),
    source: (image) => whole(image.source),
    sourceDigest: (image) => digest(image.sourceDigest),
    destDigest: (image) => digest(image.destDigest),
    size: (image) => bytes(image.size),
    moved: (image) => bytes(image.moved),
    skipped: (image) => bytes(image.skipped),
    seconds: (image) => t('format.seconds', { count: Math.round(image.seconds * 10) / 10 }),
    attempts: (image) => number(image.attempts),
    reason: (image) => whole(image.reason),
    detail: (image) => whole(image.detail),
    platforms: (image) => whole(image.platforms.join(', ')),
    run: (image) => image.run,
    updated: (image) => when(image.endedAt),
  };
  return COLUMNS.map((id) => ({
    id,
    header: id === 'status' ? t('common.status') : t(`ecr.images.${id}`),
    cell: cells[id],
    isRowHeader: id === 'key',
    minWidth: WIDTH[id] ?? 100,
  }));
}
