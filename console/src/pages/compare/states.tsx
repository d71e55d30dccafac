import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import type { ComparisonDetailQuery, FindingState } from '../../api/generated';

export type Comparison = ComparisonDetailQuery['getComparison'];
type Counts = readonly { state: FindingState; objects: number; bytes: number }[];

export const STATES: readonly FindingState[] = [
  'SAME',
  'UNPROVEN',
  'MISSING',
  'DIFFERENT',
  'EXTRA',
  'UNVERIFIED',
  'UNREADABLE',
  'ARCHIVED',
];
/** Of these the hub knows each object; of the others only how many there are. */
export const LISTED = STATES.filter((state) => state !== 'SAME' && state !== 'UNPROVEN');
export const COPYABLE: readonly FindingState[] = ['MISSING', 'DIFFERENT', 'UNVERIFIED', 'UNREADABLE'];
export const NOT_COMPARED: readonly FindingState[] = ['UNVERIFIED', 'UNREADABLE', 'ARCHIVED'];

const KIND: Record<FindingState, StatusIndicatorProps.Type> = {
  SAME: 'success',
  UNPROVEN: 'info',
  MISSING: 'error',
  DIFFERENT: 'error',
  EXTRA: 'warning',
  UNVERIFIED: 'warning',
  UNREADABLE: 'warning',
  ARCHIVED: 'warning',
};

export function StateOf({ state }: { state: FindingState }) {
  const { t } = useTranslation();
  return <StatusIndicator type={KIND[state]}>{t(`compare.state.${state}`)}</StatusIndicator>;
}

/** How many objects are in these states. */
export const objectsIn = (counts: Counts, states: readonly FindingState[]): number =>
  counts.filter(({ state }) => states.includes(state)).reduce((sum, { objects }) => sum + objects, 0);

const ENDED: Record<string, StatusIndicatorProps.Type> = {
  RUNNING: 'in-progress',
  FAILED: 'error',
  CANCELLED: 'stopped',
  INTERRUPTED: 'warning',
};
export const VERDICT: Record<string, 'success' | 'info' | 'warning' | 'error'> = {
  SAME: 'success',
  UNPROVEN: 'info',
  DIFFERENT: 'error',
  UNDECIDED: 'warning',
  EMPTY: 'warning',
};

/** What a comparison says of both sides; until it has seen everything, how it stands. */
export function ResultOf({ comparison }: { comparison: Pick<Comparison, 'state' | 'verdict'> }) {
  const { t } = useTranslation();
  const { state, verdict } = comparison;
  if (verdict)
    return <StatusIndicator type={VERDICT[verdict]!}>{t(`compare.verdict.${verdict}`)}</StatusIndicator>;
  return (
    <StatusIndicator type={ENDED[state] ?? 'info'}>
      {t(`compare.ended.${state as 'RUNNING'}`)}
    </StatusIndicator>
  );
}
