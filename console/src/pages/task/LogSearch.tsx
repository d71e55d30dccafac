import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import TextFilter from '@cloudscape-design/components/text-filter';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { type LogLevel, TaskLogStreamsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { SpanForm } from '../../components/SpanForm';
import { useFormat } from '../../format';
import { kindsOf } from './logLine';

const LOOK = 60_000; // milliseconds between looks for new processes
/** The least level, by the words for what is shown. */
const LEVELS: Record<'all' | 'warnings' | 'errors', LogLevel | ''> = {
  all: '',
  warnings: 'WARNING',
  errors: 'ERROR',
};

/** Which lines of the logs are shown: by text, process, level and time. */
export function LogSearch({
  group,
  shown,
  onChange,
}: {
  group: string;
  shown: URLSearchParams;
  onChange: (changes: Record<string, string>) => void;
}) {
  const { t } = useTranslation();
  const [text, setText] = useState(shown.get('search') ?? '');
  const [from, to] = [Number(shown.get('from')), Number(shown.get('to'))];
  const processes = useProcesses(group, shown.get('stream') ?? '');
  const levels = (Object.keys(LEVELS) as (keyof typeof LEVELS)[]).map((each) => ({
    value: LEVELS[each] as string,
    label: t(`detail.logs.least.${each}`),
  }));
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <div className="dth-find">
        <TextFilter
          filteringText={text}
          filteringAriaLabel={t('detail.logs.search')}
          filteringPlaceholder={t('detail.logs.search')}
          onChange={({ detail }) => setText(detail.filteringText)}
          onDelayedChange={({ detail }) => onChange({ search: detail.filteringText })}
        />
      </div>
      <Select
        ariaLabel={t('detail.logs.process')}
        filteringType="auto"
        expandToViewport
        options={processes}
        selectedOption={processes.find(({ value }) => value === (shown.get('stream') ?? '')) ?? null}
        onChange={({ detail }) => onChange({ stream: detail.selectedOption.value ?? '' })}
      />
      <Select
        ariaLabel={t('detail.logs.level')}
        options={levels}
        selectedOption={levels.find(({ value }) => value === (shown.get('level') ?? '')) ?? null}
        onChange={({ detail }) => onChange({ level: detail.selectedOption.value ?? '' })}
      />
      <SpanForm
        label={t('detail.logs.anyTime')}
        span={from > 0 && to > 0 ? { from: from / 1000, to: to / 1000 } : null}
        onChange={(span) => onChange({ from: String(span.from * 1000), to: String(span.to * 1000) })}
        onClear={() => onChange({ from: '', to: '' })}
      />
    </SpaceBetween>
  );
}

/** All processes, the kinds of them, and each: the one that wrote last is the first. */
function useProcesses(
  group: string,
  chosen: string,
): { value: string; label: string; description?: string }[] {
  const { t } = useTranslation();
  const { bytes, when } = useFormat();
  const { data } = useData(TaskLogStreamsDocument, { logGroupName: group }, { refetchInterval: LOOK });
  const streams = (data?.listLogStreams?.logStreams ?? []).flatMap((each) =>
    each?.logStreamName
      ? [
          {
            value: each.logStreamName,
            label: each.logStreamName,
            description: t('detail.logs.written', {
              when: when(each.lastEventTimestamp ? Number(each.lastEventTimestamp) : null),
              size: bytes(each.storedBytes),
            }),
          },
        ]
      : [],
  );
  const kinds = kindsOf(streams.map(({ value }) => value));
  // The one in the address may have no log yet, or be among the many that are not listed.
  const known = [...kinds, ...streams.map(({ value }) => value)];
  if (chosen && !known.includes(chosen)) kinds.push(chosen);
  return [
    { value: '', label: t('detail.logs.allProcesses') },
    ...kinds.map((value) => ({ value, label: value })),
    ...streams,
  ];
}
