import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import type { TableProps } from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { RecordStatus, TaskRecordsQuery } from '../../api/generated';
import { useFormat } from '../../format';
import { useTextOr } from './textOr';
import { VisibleKey } from './VisibleKey';

export type ObjectRecord = TaskRecordsQuery['listRecords']['items'][number];

export const COLUMNS = [
  'key',
  'status',
  'size',
  'verified',
  'reason',
  'detail',
  'attempts',
  'etag',
  'destEtag',
  'proof',
  'run',
  'updated',
] as const;
type Column = (typeof COLUMNS)[number];
export const USUAL: readonly Column[] = [
  'key',
  'status',
  'size',
  'verified',
  'reason',
  'detail',
  'attempts',
  'updated',
];

export const KIND: Record<RecordStatus, StatusIndicatorProps.Type> = {
  PENDING: 'pending',
  DONE: 'success',
  FAILED: 'error',
  CANCELLED: 'stopped',
};
const WIDTH: Partial<Record<Column, number>> = {
  key: 260,
  status: 130,
  verified: 140,
  detail: 260,
  reason: 150,
  etag: 200,
  destEtag: 200,
  proof: 220,
  updated: 170,
};

const whole = (text: string) => <span className="dth-break">{text || '-'}</span>;

export function useRecordColumns(): TableProps.ColumnDefinition<ObjectRecord>[] {
  const { t } = useTranslation();
  const textOr = useTextOr();
  const { number, bytes, when } = useFormat();
  const cells: Record<Column, (record: ObjectRecord) => ReactNode> = {
    key: (record) => <VisibleKey name={record.key} />,
    status: (record) => (
      <StatusIndicator type={KIND[record.status]}>
        {t(`detail.objects.statuses.${record.status}`)}
      </StatusIndicator>
    ),
    size: (record) => bytes(record.size),
    verified: ({ status, verified }) =>
      status === 'DONE' ? textOr(`detail.objects.kinds.${verified || 'none'}`, verified) : '-',
    reason: (record) => whole(record.reason),
    detail: (record) => whole(record.detail),
    attempts: (record) => number(record.attempts),
    etag: (record) => whole(record.etag),
    destEtag: (record) => whole(record.destEtag),
    proof: (record) => whole(record.proof),
    run: (record) => record.run,
    updated: (record) => when(record.updatedAt),
  };
  return COLUMNS.map((id) => ({
    id,
    header: id === 'status' ? t('common.status') : t(`detail.objects.${id}`),
    cell: cells[id],
    isRowHeader: id === 'key',
    minWidth: WIDTH[id] ?? 100,
  }));
}
