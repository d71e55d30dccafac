import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import TextFilter from '@cloudscape-design/components/text-filter';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { type RecordStatus, TaskFailuresDocument, TaskRunsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import type { useWords } from '../../plugins/words';

export const FILTERS = ['status', 'prefix', 'reason', 'run'] as const;
type Filter = (typeof FILTERS)[number];
const STATUSES: readonly RecordStatus[] = ['PENDING', 'DONE', 'FAILED', 'CANCELLED'];

/** What the address says, as the hub wants it. */
export function readFilters(shown: URLSearchParams) {
  const run = Number(shown.get('run'));
  return {
    status: STATUSES.find((status) => status === shown.get('status')) ?? null,
    prefix: shown.get('prefix'),
    reason: shown.get('reason'),
    run: Number.isInteger(run) && run > 0 ? run : null,
  };
}

export function RecordFilters({
  id,
  words,
  shown,
  onChange,
}: {
  id: string;
  words: ReturnType<typeof useWords>;
  shown: URLSearchParams;
  onChange: (changes: Partial<Record<Filter, string>>) => void;
}) {
  const { t } = useTranslation();
  const [prefix, setPrefix] = useState(shown.get('prefix') ?? '');
  const reasons = useData(TaskFailuresDocument, { id }).data?.failureGroups ?? [];
  const runs = useData(TaskRunsDocument, { id, count: 20 }).data?.listRuns ?? [];
  const inAddress = shown.get('prefix') ?? '';
  const [before, setBefore] = useState(inAddress);
  if (before !== inAddress) {
    setBefore(inAddress);
    setPrefix(inAddress); // the filters were cleared
  }
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <TextFilter
        filteringText={prefix}
        filteringAriaLabel={words('detail.objects.prefix')}
        filteringPlaceholder={words('detail.objects.prefix')}
        onChange={({ detail }) => setPrefix(detail.filteringText)}
        onDelayedChange={({ detail }) => onChange({ prefix: detail.filteringText })}
      />
      <Choice
        label={t('common.status')}
        any={t('detail.objects.anyStatus')}
        value={shown.get('status')}
        options={STATUSES.map((status) => [status, t(`detail.objects.statuses.${status}`)])}
        onChange={(status) => onChange({ status })}
      />
      <Choice
        label={t('detail.objects.reason')}
        any={t('detail.objects.anyReason')}
        value={shown.get('reason')}
        options={reasons.map(({ reason }) => [reason, reason])}
        onChange={(reason) => onChange({ reason })}
      />
      <Choice
        label={t('detail.objects.run')}
        any={words('detail.objects.anyRun')}
        value={shown.get('run')}
        options={runs.map((run) => [String(run.id), t('detail.objects.runNumber', { id: run.id })])}
        onChange={(run) => onChange({ run })}
      />
    </SpaceBetween>
  );
}

function Choice(props: {
  label: string;
  any: string;
  value: string | null;
  options: (readonly [value: string, text: string])[];
  onChange: (value: string) => void;
}) {
  const options = [
    { value: '', label: props.any },
    ...props.options.filter(([value]) => value).map(([value, label]) => ({ value, label })),
  ];
  const value = props.value ?? '';
  return (
    <Select
      ariaLabel={props.label}
      selectedOption={options.find((option) => option.value === value) ?? { value, label: value }}
      options={options}
      onChange={({ detail }) => props.onChange(detail.selectedOption.value ?? '')}
    />
  );
}
