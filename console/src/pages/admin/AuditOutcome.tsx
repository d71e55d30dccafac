import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';

/** What became of a change: nothing yet, ok (perhaps with an id), or the code of an error. */
export function AuditOutcome({ outcome }: { outcome: string }) {
  const { t } = useTranslation();
  if (!outcome) return <StatusIndicator type="in-progress">{t('admin.audit.underWay')}</StatusIndicator>;
  if (outcome === 'ok' || outcome.startsWith('ok '))
    return <StatusIndicator>{t('admin.audit.ok')}</StatusIndicator>;
  return <StatusIndicator type="error">{outcome}</StatusIndicator>;
}
