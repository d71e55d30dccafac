import Autosuggest from '@cloudscape-design/components/autosuggest';
import Box from '@cloudscape-design/components/box';
import Input from '@cloudscape-design/components/input';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useFormat } from '../format';
import { isCron, nextRuns } from './cron';
import { ParameterFrame } from './ParameterFrame';
import { useTaskForm } from './context';
import { useParameter } from './ParameterField';
import { amount } from './size';
import type { Problem, Reading, Step, WizardPlan } from './types';
import { isZone, ownZone, UTC } from './zone';

/** When a task runs and how much it may take: the same for every kind of task, as the hub sees to it. */
export const scheduleStep: Step = {
  id: 'schedule',
  optional: true,
  sections: [
    {
      id: 'when',
      items: [
        {
          id: 'schedule',
          options: [
            { id: 'once', parameters: [] },
            {
              id: 'rate',
              parameters: ['scheduleRate'],
              applies: (form) => Boolean(form.parameter('scheduleRate')),
            },
            {
              id: 'cron',
              parameters: ['ec2CronExpression'],
              applies: (form) => Boolean(form.parameter('ec2CronExpression')),
            },
          ],
        },
        'scheduleTimeZone',
      ],
    },
    { id: 'windows', items: ['transferWindow', 'bandwidthTimetable'] },
    { id: 'limits', items: ['budget', 'alarmEmail'] },
  ],
};

export const scheduleExamples = {
  transferWindow: 'Mon-Fri 20:00-06:00, Sat-Sun 00:00-24:00 Europe/Berlin',
  bandwidthTimetable: 'Mon-Fri 08:00-18:00 10M, 18:00-08:00 unlimited Asia/Tokyo',
  alarmEmail: 'ops@example.com',
};

const EMAIL = /^[^@\s]+@[^@\s]+$/;

export function scheduleProblems(reading: Reading): Record<string, Problem> {
  const found: Record<string, Problem> = {};
  const refuse = (name: string, good: (text: string) => boolean, problem: Problem) => {
    if (reading.given(name) && !good(reading.value(name))) found[name] = problem;
  };
  refuse('scheduleRate', (text) => rateOf(text) !== null, { key: 'create.problems.rate' });
  refuse('ec2CronExpression', isCron, { key: 'create.problems.cron' });
  refuse('scheduleTimeZone', isZone, { key: 'create.problems.zone' });
  refuse('transferWindow', isWindow, { key: 'create.problems.window' });
  refuse('bandwidthTimetable', isTimetable, { key: 'create.problems.timetable' });
  refuse('budget', (text) => Number(text) > 0, { key: 'create.problems.positive' });
  refuse('alarmEmail', (text) => EMAIL.test(text), { key: 'create.problems.email' });
  return found;
}

export const scheduleNeeds: WizardPlan['needs'] = { scheduleRate: () => true };

const ENTRY = /^(?:([a-z]{3})(?:-([a-z]{3}))? +)?(\d{1,2}:[0-5]\d)-(\d{1,2}:[0-5]\d)(?: +(.*))?$/i;
const WEEKDAYS = new Set(['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']);

/** `Mon-Fri 20:00-06:00, ...`, a time zone at its end; `left` judges what stands behind the times of an entry. */
function isWeekly(text: string, left: (words: string[], isLast: boolean) => boolean): boolean {
  const entries = text.split(',');
  return entries.every((entry, place) => {
    const [, first, last, start, end, rest] = ENTRY.exec(entry.trim()) ?? [];
    if (!start || !end || start === end) return false;
    const days = [first, last].every((day) => !day || WEEKDAYS.has(day.toLowerCase()));
    const times = [start, end].every((time) => minutes(time) <= 1440);
    return days && times && left(rest?.split(/\s+/) ?? [], place === entries.length - 1);
  });
}
const minutes = (time: string) => Number(time.split(':')[0]) * 60 + Number(time.split(':')[1]);
const isWindow = (text: string) => isWeekly(text, (words, isLast) => words.length <= (isLast ? 1 : 0));
const isTimetable = (text: string) =>
  isWeekly(
    text,
    ([cap = '', ...zone], isLast) =>
      (cap.toLowerCase() === 'unlimited' || amount(cap) > 0) && zone.length <= (isLast ? 1 : 0),
  );

const UNITS = ['minute', 'hour', 'day'] as const;
type Unit = (typeof UNITS)[number];

function rateOf(text: string): { count: number; unit: Unit } | null {
  const found = /^\s*(?:rate\s*\()?\s*([1-9]\d{0,5}) +(minute|hour|day)s?\s*\)?\s*$/i.exec(text);
  return found ? { count: Number(found[1]), unit: found[2]!.toLowerCase() as Unit } : null;
}

/** Every so many minutes, hours or days. */
export function RateField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { text, set, touch } = useParameter(name);
  const [count = '', unit = ''] = rateOf(text)
    ? [String(rateOf(text)?.count), rateOf(text)?.unit]
    : text.split(' ', 2);
  const chosen = UNITS.find((each) => unit.startsWith(each)) ?? 'hour';
  const options = UNITS.map((value) => ({
    value,
    label: t(`create.rate.${value}`, { count: Number(count) || 2 }),
  }));
  const say = (count: string, unit: string) =>
    set(count.trim() ? `${count.trim()} ${unit}${count.trim() === '1' ? '' : 's'}` : '');
  return (
    <ParameterFrame name={name}>
      <SpaceBetween direction="horizontal" size="xs">
        <Input
          value={count}
          inputMode="numeric"
          autoComplete={false}
          ariaLabel={t('create.rate.count')}
          onChange={(event) => say(event.detail.value, chosen)}
          onBlur={touch}
        />
        <Select
          options={options}
          selectedOption={options.find((each) => each.value === chosen)!}
          ariaLabel={t('create.rate.unit')}
          onChange={(event) => say(count, event.detail.selectedOption.value ?? 'hour')}
        />
      </SpaceBetween>
    </ParameterFrame>
  );
}

/** A time zone: typed, or chosen; the user's own comes first. */
export function ZoneField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { text, set, touch } = useParameter(name);
  const [own] = useState(ownZone);
  const zones = Intl.supportedValuesOf('timeZone').map((value) => ({ value }));
  return (
    <ParameterFrame name={name} constraintText={t('create.zone.hint', { zone: own })}>
      <Autosuggest
        value={text}
        options={[
          { label: t('create.zone.own'), options: [{ value: own }] },
          { label: t('create.zone.all'), options: zones },
        ]}
        placeholder={UTC}
        enteredTextLabel={(zone) => t('create.zone.use', { zone })}
        onChange={(event) => set(event.detail.value)}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}

/** A cron expression, and when it comes next. */
export function CronField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { whenHere } = useFormat();
  const { reading } = useTaskForm();
  const { text, standard, set, touch } = useParameter(name);
  const expression = text.trim() || standard;
  const [now] = useState(Date.now);
  const zone = reading.value('scheduleTimeZone').trim() || UTC;
  const next = isZone(zone) ? nextRuns(expression, now, 3, zone) : [];
  return (
    <ParameterFrame
      name={name}
      constraintText={t('create.cron.hint', { zone })}
      description={
        next.length > 0 && (
          <Box fontSize="body-s" color="inherit">
            {t('create.cron.next', { times: next.map(whenHere).join('; ') })}
          </Box>
        )
      }
    >
      <Input
        value={text}
        placeholder={standard}
        autoComplete={false}
        spellcheck={false}
        onChange={(event) => set(event.detail.value)}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}

export const scheduleFields: WizardPlan['fields'] = {
  scheduleRate: RateField,
  ec2CronExpression: CronField,
  scheduleTimeZone: ZoneField,
};
