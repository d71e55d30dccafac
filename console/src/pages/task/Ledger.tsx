import Box from '@cloudscape-design/components/box';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { useFormat } from '../../format';
import { balance, type Counts, open, type Run } from './ledger';
import type { TaskPlugin } from '../../plugins/types';
import { useWords } from '../../plugins/words';

const SHOWN = {
  listing: { type: 'in-progress', text: 'detail.ledger.listingOn' },
  moving: { type: 'in-progress', text: 'detail.ledger.moving' },
  balanced: { type: 'success', text: 'detail.ledger.balanced' },
  broken: { type: 'error', text: 'detail.ledger.broken' },
  off: { type: 'error', text: 'detail.ledger.off' },
} as const satisfies Record<string, { type: StatusIndicatorProps.Type; text: string }>;

/** A run's counts as the sums that they must make, and in words. */
export function Ledger({ run, plugin }: { run: Run; plugin: TaskPlugin }) {
  const { t } = useTranslation();
  const words = useWords(plugin);
  const { number, bytes } = useFormat();
  const { counts } = run;
  const state = SHOWN[balance(run)];
  const left = open(counts);
  const transfer = {
    enqueued: number(counts.enqueued),
    done: number(counts.done),
    failed: number(counts.failed),
    cancelled: number(counts.cancelled),
    open: number(left),
  };
  return (
    <SpaceBetween size="m">
      <StatusIndicator type={state.type}>{words(state.text)}</StatusIndicator>
      {run.kind === 'sync' && (
        <Sum
          title={t('detail.ledger.listing')}
          whole={[t('detail.ledger.listed'), counts.listed]}
          parts={[
            [t('detail.ledger.filtered'), counts.filtered],
            [t('detail.ledger.same'), counts.same],
            ...(plugin.counts.includes('archived') || counts.archived > 0
              ? [[t('detail.ledger.archived'), counts.archived] as const]
              : []),
            [t('detail.ledger.pending'), counts.pending],
            [t('detail.ledger.enqueued'), counts.enqueued],
          ]}
          words={words('detail.ledger.listedWords', {
            listed: number(counts.listed),
            filtered: number(counts.filtered),
            same: number(counts.same),
            archived: number(counts.archived),
            pending: number(counts.pending),
            enqueued: transfer.enqueued,
          })}
        />
      )}
      <Sum
        title={t('detail.ledger.transfer')}
        whole={[t('detail.ledger.enqueued'), counts.enqueued]}
        parts={[
          [t('detail.ledger.done'), counts.done],
          [t('detail.ledger.failed'), counts.failed],
          [t('detail.ledger.cancelled'), counts.cancelled],
          ...(left > 0 ? [[t('detail.ledger.open'), left] as const] : []),
        ]}
        words={`${left > 0 ? t('detail.ledger.transferWords', transfer) : t('detail.ledger.transferEnd', transfer)} ${t(
          'detail.ledger.bytes',
          { done: bytes(counts.done_bytes), enqueued: bytes(counts.enqueued_bytes) },
        )}`}
      />
      {plugin.counts.includes('verified') && counts.done > 0 && <Verification counts={counts} />}
      {counts.delete_enqueued > 0 && (
        <Sum
          title={t('detail.ledger.deletes')}
          whole={[t('detail.ledger.deleteEnqueued'), counts.delete_enqueued]}
          parts={[
            [t('detail.ledger.deleted'), counts.deleted],
            [t('detail.ledger.kept'), counts.delete_kept],
            [t('detail.ledger.deleteFailed'), counts.delete_failed],
          ]}
          words={t('detail.ledger.deleteWords', {
            enqueued: number(counts.delete_enqueued),
            deleted: number(counts.deleted),
            kept: number(counts.delete_kept),
            failed: number(counts.delete_failed),
          })}
        />
      )}
      <Remarks run={run} />
    </SpaceBetween>
  );
}

type Term = readonly [label: string, count: number];

function Sum({
  title,
  whole,
  parts,
  words,
}: {
  title: string;
  whole: Term;
  parts: readonly Term[];
  words: string;
}) {
  return (
    <div>
      <Box variant="h3" padding={{ bottom: 'xxs' }}>
        {title}
      </Box>
      {/* The sentence below says the same to those who do not see the sum. */}
      <div aria-hidden>
        <SpaceBetween direction="horizontal" size="s" alignItems="end">
          <Number term={whole} />
          {parts.map((term, index) => (
            <SpaceBetween key={term[0]} direction="horizontal" size="s" alignItems="end">
              <Box fontSize="heading-l" color="text-body-secondary">
                {index === 0 ? '=' : '+'}
              </Box>
              <Number term={term} />
            </SpaceBetween>
          ))}
        </SpaceBetween>
      </div>
      <Box color="text-body-secondary" padding={{ top: 'xxs' }}>
        {words}
      </Box>
    </div>
  );
}

function Number({ term: [label, count] }: { term: Term }) {
  const { number } = useFormat();
  return (
    <div className="dth-numeric">
      <Box fontSize="body-s" color="text-body-secondary">
        {label}
      </Box>
      <Box fontSize="heading-l">{number(count)}</Box>
    </div>
  );
}

/** What the run found besides. */
const KINDS = ['verified_store', 'verified_etag', 'verified_source', 'verified_content'] as const;

/** Who confirmed the copies, and how many nobody did. */
function Verification({ counts }: { counts: Counts }) {
  const { t } = useTranslation();
  const { number, locale } = useFormat();
  const found = KINDS.filter((kind) => counts[kind] > 0);
  const unverified = KINDS.reduce((rest, kind) => rest - counts[kind], counts.done);
  const kinds = found.map((kind) => t(`detail.ledger.${kind}`, { shown: number(counts[kind]) }));
  if (unverified > 0) kinds.push(t('detail.ledger.unverified', { shown: number(unverified) }));
  return (
    <Box color="text-body-secondary">
      {t('detail.ledger.verification', {
        done: number(counts.done),
        kinds: new Intl.ListFormat(locale).format(kinds),
      })}
    </Box>
  );
}

function Remarks({ run: { counts } }: { run: Run }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const remarks = (['unproven', 'incomplete', 'extra', 'restores'] as const).filter(
    (name) => counts[name] > 0,
  );
  if (!remarks.length) return null;
  return (
    <SpaceBetween size="xxs">
      {remarks.map((name) => (
        <StatusIndicator key={name} type="info" colorOverride="grey">
          {t(`detail.ledger.${name}`, { shown: number(counts[name]) })}
        </StatusIndicator>
      ))}
    </SpaceBetween>
  );
}
