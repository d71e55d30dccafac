import Button from '@cloudscape-design/components/button';
import Input from '@cloudscape-design/components/input';
import Multiselect from '@cloudscape-design/components/multiselect';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Toggle from '@cloudscape-design/components/toggle';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { ScheduleType, TaskProgress } from '../../api/generated';
import { STATUSES } from '../../components/TaskStatus';
import { useKindTexts } from '../../plugins/registry';
import { isFiltered, type TaskListQuery } from './query';
import { Views } from './Views';

const PAUSE = 300; // milliseconds after the last key before the hub is asked

export function Filters({
  query,
  types: kinds,
  total,
  onChange,
}: {
  query: TaskListQuery;
  /** The kinds of task there are. */
  types: readonly string[];
  total: number | undefined;
  onChange: (change: Partial<TaskListQuery>) => void;
}) {
  const { t } = useTranslation();
  const { nameOf } = useKindTexts();
  const statuses = STATUSES.map((value) => ({ value, label: t(`progress.${value}`) }));
  const types = [
    { value: '', label: t('tasks.filterType') },
    ...kinds.map((value) => ({ value, label: nameOf(value) })),
  ];
  const schedules = [
    { value: '', label: t('tasks.filterSchedule') },
    ...(['ONE_TIME', 'FIXED_RATE'] as const).map((value) => ({
      value: value as string,
      label: t(`schedule.${value}`),
    })),
  ];
  return (
    <SpaceBetween direction="horizontal" size="xs" alignItems="center">
      <div className="dth-find">
        <Text text={query.text} onChange={(text) => onChange({ text })} />
      </div>
      <Multiselect
        ariaLabel={t('tasks.filterStatusLabel')}
        placeholder={
          query.statuses.length
            ? t('tasks.statuses', { count: query.statuses.length })
            : t('tasks.filterStatus')
        }
        hideTokens
        options={statuses}
        selectedOptions={statuses.filter(({ value }) => query.statuses.includes(value))}
        onChange={({ detail }) =>
          onChange({ statuses: detail.selectedOptions.map(({ value }) => value as TaskProgress) })
        }
      />
      <Select
        ariaLabel={t('tasks.filterTypeLabel')}
        options={types}
        selectedOption={types.find(({ value }) => value === query.type) ?? null}
        onChange={({ detail }) => onChange({ type: detail.selectedOption.value ?? '' })}
      />
      <Select
        ariaLabel={t('tasks.filterScheduleLabel')}
        options={schedules}
        selectedOption={schedules.find(({ value }) => value === query.scheduleType) ?? null}
        onChange={({ detail }) =>
          onChange({ scheduleType: detail.selectedOption.value as ScheduleType | '' })
        }
      />
      <Toggle checked={query.attention} onChange={({ detail }) => onChange({ attention: detail.checked })}>
        {t('tasks.attention')}
      </Toggle>
      <Views query={query} types={kinds} onOpen={onChange} />
      {isFiltered(query) && total !== undefined && (
        <span aria-live="polite">{t('tasks.matches', { count: total })}</span>
      )}
      {isFiltered(query) && (
        <Button
          variant="inline-link"
          onClick={() => onChange({ text: '', statuses: [], type: '', scheduleType: '', attention: false })}
        >
          {t('common.clear')}
        </Button>
      )}
    </SpaceBetween>
  );
}

/** Each key is shown at once; the hub is asked when the typing pauses. */
function Text({ text, onChange }: { text: string; onChange: (text: string) => void }) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState(text);
  const timer = useRef<number>(undefined);
  const [asked, setAsked] = useState(text);
  const [known, setKnown] = useState(text);
  if (text !== known) {
    setKnown(text);
    if (text !== asked) {
      // The address changed by other means: filters cleared, back and forth.
      setAsked(text);
      setTyped(text);
    }
  }
  return (
    <Input
      type="search"
      ariaLabel={t('tasks.find')}
      placeholder={t('tasks.find')}
      clearAriaLabel={t('common.clearText')}
      value={typed}
      onChange={({ detail }) => {
        setTyped(detail.value);
        clearTimeout(timer.current);
        timer.current = window.setTimeout(() => {
          setAsked(detail.value);
          onChange(detail.value);
        }, PAUSE);
      }}
    />
  );
}
