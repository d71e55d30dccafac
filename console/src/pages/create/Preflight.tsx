import Box from '@cloudscape-design/components/box';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Alert, { type AlertProps } from '@cloudscape-design/components/alert';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { Copyable } from '../../components/Copyable';
import { HubText } from '../../components/HubText';

type State = 'OK' | 'WARNING' | 'FAILED' | 'UNKNOWN';

interface Check {
  side: 'source' | 'destination' | 'network';
  name: string;
  state: State;
  found: string;
  todo: string;
  /** IAM statement to add; empty where none is missing. */
  statement: object;
}

/** What every plugin's preflight reports. */
export interface PreflightReport {
  state: State;
  checks: Check[];
  policies: Partial<Record<(typeof SIDES)[number], { Statement?: object[] }>>;
}

const INDICATOR: Record<State, StatusIndicatorProps.Type> = {
  OK: 'success',
  WARNING: 'warning',
  FAILED: 'error',
  UNKNOWN: 'info',
};
const ALERT: Record<State, AlertProps.Type> = { ...INDICATOR } as Record<State, AlertProps.Type>;
const WORST_FIRST: readonly State[] = ['FAILED', 'WARNING', 'UNKNOWN', 'OK'];
// The last is of what a task runs on; not every hub looks at it.
const SIDES = ['source', 'destination', 'network'] as const;

const pretty = (json: object) => JSON.stringify(json, null, 2);

/** What was tried on both sides, the worst first, and what to add where a permission is missing. */
export function Preflight({ report }: { report: PreflightReport }) {
  const { t } = useTranslation();
  return (
    <SpaceBetween size="l">
      <Alert type={ALERT[report.state]}>{t(`create.preflight.verdict.${report.state}`)}</Alert>
      {SIDES.map((side) => {
        const checks = report.checks
          .filter((check) => check.side === side)
          .toSorted((a, b) => WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state));
        const policy = report.policies[side];
        if (side === 'network' && checks.length === 0) return null;
        return (
          <SpaceBetween key={side} size="s">
            <Box variant="h3">{t(`create.preflight.${side}`)}</Box>
            {checks.map((check) => (
              <CheckRow key={`${check.name} ${check.found}`} check={check} />
            ))}
            {policy && (policy.Statement?.length ?? 0) > 1 && (
              <ExpandableSection headerText={t('create.preflight.policy')}>
                <Copyable code text={pretty(policy)} />
              </ExpandableSection>
            )}
          </SpaceBetween>
        );
      })}
    </SpaceBetween>
  );
}

function CheckRow({ check }: { check: Check }) {
  const { t } = useTranslation();
  const hasStatement = Object.keys(check.statement).length > 0 && check.state !== 'OK';
  return (
    <div>
      <StatusIndicator
        type={INDICATOR[check.state]}
        iconAriaLabel={t(`create.preflight.state.${check.state}`)}
      >
        {check.name}
      </StatusIndicator>{' '}
      <HubText>{check.found}</HubText>
      {check.todo && (
        <Box color="text-body-secondary" padding={{ left: 'l' }}>
          <HubText>{check.todo}</HubText>
        </Box>
      )}
      {hasStatement && (
        <Box padding={{ left: 'l' }}>
          <ExpandableSection
            headerText={t('create.preflight.statement')}
            headerAriaLabel={`${t('create.preflight.statement')}: ${check.name}`}
            defaultExpanded={check.state === 'FAILED'}
          >
            <Copyable code text={pretty(check.statement)} />
          </ExpandableSection>
        </Box>
      )}
    </div>
  );
}
