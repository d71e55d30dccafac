import Box from '@cloudscape-design/components/box';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { HubText } from '../../components/HubText';
import { useFormat } from '../../format';

type Action = 'same' | 'copy' | 'along' | 'conflict' | 'missing' | 'refused' | 'unlisted';

interface Item {
  source: string;
  destination: string;
  action: Action;
  reason: string;
  /** Bytes of its layers, and those that would move. */
  size: number;
  bytes: number;
}

/** What `preview.py` tells of the plan. */
export interface PlanResult {
  /** The first of them; `counts` are of all. */
  items: Item[];
  repositories: string[];
  counts: Record<Action, number>;
  /** Bytes that would move; null where that is not known. */
  bytes: number | null;
  size: number | null;
  notes: string[];
  left_out: number;
}

const KIND: Record<Action, StatusIndicatorProps.Type> = {
  same: 'success',
  along: 'success',
  copy: 'pending',
  conflict: 'error',
  missing: 'error',
  refused: 'error',
  unlisted: 'error',
};
const PAGE = 10;

/** What the task would do now: in numbers, and image by image where something is to be done. */
export function Plan({ result }: { result: string }) {
  const { t } = useTranslation();
  const { number, bytes } = useFormat();
  const [page, setPage] = useState(1);
  const plan = JSON.parse(result) as PlanResult;
  const { counts } = plan;
  const impossible = counts.conflict + counts.missing + counts.refused + counts.unlisted;
  const columns = useColumns(plan.bytes !== null);
  const todo = plan.items.filter((item) => item.action !== 'same');
  const more = counts.copy + counts.along + impossible - todo.length;
  return (
    <SpaceBetween size="m">
      <KeyValuePairs
        columns={3}
        items={[
          { label: t('ecr.plan.copies'), value: number(counts.copy) },
          {
            label: t('ecr.plan.bytes'),
            value: plan.bytes === null ? t('ecr.plan.unknown') : bytes(plan.bytes),
          },
          {
            label: t('ecr.plan.shared'),
            value:
              plan.bytes === null || plan.size === null
                ? t('ecr.plan.unknown')
                : bytes(Math.max(0, plan.size - plan.bytes)),
          },
          { label: t('ecr.plan.same'), value: number(counts.same) },
          { label: t('ecr.plan.impossible'), value: number(impossible) },
          { label: t('ecr.plan.leftOut'), value: number(plan.left_out) },
          ...(counts.along > 0 ? [{ label: t('ecr.plan.along'), value: number(counts.along) }] : []),
        ]}
      />
      {plan.repositories.length > 0 && (
        <Box variant="p">
          <span className="dth-break">
            {t('ecr.plan.repositories', { names: plan.repositories.join(', ') })}
          </span>
        </Box>
      )}
      {todo.length > 0 ? (
        <Table
          variant="embedded"
          contentDensity="compact"
          wrapLines
          items={todo.slice((page - 1) * PAGE, page * PAGE)}
          header={<Header variant="h3">{t('ecr.plan.images')}</Header>}
          ariaLabels={{ tableLabel: t('ecr.plan.images') }}
          {...(todo.length > PAGE
            ? {
                pagination: (
                  <Pagination
                    currentPageIndex={page}
                    pagesCount={Math.ceil(todo.length / PAGE)}
                    onChange={({ detail }) => setPage(detail.currentPageIndex)}
                  />
                ),
              }
            : {})}
          columnDefinitions={columns}
        />
      ) : (
        more === 0 && <StatusIndicator type="success">{t('ecr.plan.nothing')}</StatusIndicator>
      )}
      {more > 0 && <Box color="text-body-secondary">{t('ecr.plan.more', { count: more })}</Box>}
      {plan.notes.length > 0 && (
        <Box variant="div" color="text-body-secondary">
          <ul>
            {plan.notes.map((note) => (
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

const name = (text: string) => <span className="dth-break">{text}</span>;

/** `counted`: whether bytes are known. */
function useColumns(counted: boolean): TableProps.ColumnDefinition<Item>[] {
  const { t } = useTranslation();
  const { bytes } = useFormat();
  return [
    {
      id: 'source',
      header: t('ecr.plan.source'),
      minWidth: 180,
      cell: (item) => name(item.source),
      isRowHeader: true,
    },
    {
      id: 'destination',
      header: t('ecr.plan.destination'),
      minWidth: 180,
      cell: (item) => name(item.destination),
    },
    {
      id: 'action',
      header: t('ecr.plan.action'),
      minWidth: 160,
      cell: ({ action, reason }) => (
        <>
          <StatusIndicator type={KIND[action]}>{t(`ecr.plan.actions.${action}`)}</StatusIndicator>
          {reason && (
            <Box fontSize="body-s" color="text-body-secondary">
              <span className="dth-break">{reason}</span>
            </Box>
          )}
        </>
      ),
    },
    {
      id: 'bytes',
      header: t('ecr.plan.moves'),
      minWidth: 120,
      cell: ({ action, bytes: moves, size }) =>
        action === 'copy' && counted ? t('ecr.plan.of', { moves: bytes(moves), size: bytes(size) }) : '-',
    },
  ];
}
