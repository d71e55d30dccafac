import type { CreateTaskInput, EditTaskInput, FormTaskQuery, ScheduleType } from '../api/generated';
import { amount } from './size';
import type { Kind, Parameter, Pick, Reading, Step, TaskForm, WizardPlan } from './types';

type Known = NonNullable<FormTaskQuery['getTask']>;

export const picksOf = (wizard: WizardPlan): Pick[] =>
  wizard.steps.flatMap((step) =>
    step.sections.flatMap((section) => section.items.filter((item) => typeof item !== 'string')),
  );

/** The parameters of a step's fields. */
export const namesOf = (step: Step): string[] =>
  step.sections.flatMap((section) =>
    section.items.flatMap((item) =>
      typeof item === 'string' ? [item] : item.options.flatMap((option) => option.parameters),
    ),
  );

export function newForm(type: string, wizard: WizardPlan): TaskForm {
  return { id: crypto.randomUUID(), type, description: '', ...wizard.start };
}

export function formOf(task: Known, { wizard, parameters }: Kind): TaskForm {
  const lists = new Set(parameters.flatMap((each) => (each.kind === 'list' ? [each.name] : [])));
  const values: Record<string, string> = {};
  for (const each of task.parameters ?? []) {
    const [name, text] = [each?.ParameterKey, each?.ParameterValue];
    if (name && text) values[name] = lists.has(name) ? linesOf(text) : text;
  }
  const picks = Object.fromEntries(picksOf(wizard).map((pick) => [pick.id, pickOf(pick, values)]));
  if (task.scheduleType === 'ONE_TIME') picks.schedule = 'once';
  else if (picks.schedule === 'once') picks.schedule = 'cron'; // a schedule by the default expression
  return { id: task.id, type: task.type ?? '', description: task.description ?? '', values, picks };
}

/** The way that a task's parameters say; else the one that needs none. */
function pickOf(pick: Pick, values: Readonly<Record<string, string>>): string {
  const said = pick.options.find(
    ({ parameters, sets = {} }) =>
      parameters.some((name) => values[name]) ||
      Object.entries(sets).some(([name, text]) => values[name] === text),
  );
  const silent = pick.options.find(({ parameters, sets }) => parameters.length === 0 && !sets);
  return (said ?? silent)?.id ?? '';
}

export function read(form: TaskForm, { wizard, parameters, platform }: Kind): Reading {
  const known = new Map(parameters.map((each) => [each.name, each]));
  const picks = picksOf(wizard);
  /** The way chosen, or the first there is where that one does not apply. */
  const chosen = ({ id, options, applies }: Pick) => {
    if (applies && !applies(reading)) return undefined;
    const open = options.filter((option) => option.applies?.(reading) ?? true);
    return open.find((option) => option.id === form.picks[id]) ?? open[0];
  };
  const isPicked = (name: string) =>
    picks
      .filter((pick) => pick.options.some(({ parameters }) => parameters.includes(name)))
      .every((pick) => chosen(pick)?.parameters.includes(name));
  const reading: Reading = {
    form,
    parameter: (name) => known.get(name),
    picked: (id) => {
      const pick = picks.find((each) => each.id === id);
      return (pick && chosen(pick)?.id) ?? '';
    },
    applies: (name) => known.has(name) && isPicked(name) && (wizard.applies[name]?.(reading) ?? true),
    shows: (name) => reading.applies(name) && (platform === 'aws' || !wizard.awsOnly.includes(name)),
    needs: (name) => wizard.needs[name]?.(reading) ?? known.get(name)?.required ?? false,
    given: (name) => Boolean(form.values[name]?.trim()) && reading.applies(name),
    value: (name) => (reading.given(name) ? (form.values[name] ?? '') : reading.standard(name)),
    standard: (name) => wizard.standards[name]?.(reading) ?? known.get(name)?.default ?? '',
    differs: (name) =>
      meaning(known.get(name), reading.value(name)) !== meaning(known.get(name), reading.standard(name)),
  };
  return reading;
}

/** The text for which two spellings of one value are the same: 64M and 67108864, 10 and 10.0. */
function meaning(parameter: Parameter | undefined, text: string): string {
  if (parameter?.kind === 'list') return JSON.stringify(lines(text));
  const number = parameter?.size ? amount(text) : parameter?.kind === 'number' ? Number(text) : NaN;
  return text === '' || Number.isNaN(number) ? text : String(number);
}

/** The parameters as the hub is told of them: what applies and is not the default anyway. */
export function given(reading: Reading, { parameters }: Kind): Record<string, string> {
  return Object.fromEntries(
    parameters.flatMap(({ name, kind }) => {
      if (!reading.given(name) || !reading.differs(name)) return [];
      const text = reading.value(name);
      return [[name, kind === 'list' ? JSON.stringify(lines(text)) : text]];
    }),
  );
}

const scheduleType = (form: TaskForm): ScheduleType =>
  form.picks.schedule === 'once' ? 'ONE_TIME' : 'FIXED_RATE';

const pairs = (values: Record<string, string>) =>
  Object.entries(values).map(([ParameterKey, ParameterValue]) => ({ ParameterKey, ParameterValue }));

/** The task as it is created, or as it would be. */
export const taskInput = (form: TaskForm, kind: Kind) =>
  ({
    id: form.id,
    type: form.type as CreateTaskInput['type'],
    description: form.description.trim(),
    scheduleType: scheduleType(form),
    parameters: pairs(given(read(form, kind), kind)),
  }) satisfies CreateTaskInput;

/** Only what is not as before; an empty text takes a parameter away. */
export function changes(before: TaskForm, after: TaskForm, kind: Kind): EditTaskInput {
  const [old, now] = [given(read(before, kind), kind), given(read(after, kind), kind)];
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])];
  const changed = names.filter((name) => old[name] !== now[name]);
  return {
    ...(after.description === before.description ? {} : { description: after.description.trim() }),
    ...(scheduleType(after) === scheduleType(before) ? {} : { scheduleType: scheduleType(after) }),
    parameters: pairs(Object.fromEntries(changed.map((name) => [name, now[name] ?? '']))),
  };
}

export const lines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

/** A list as a task has it, JSON or one a line, as one a line. */
function linesOf(text: string): string {
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? found.join('\n') : text;
  } catch {
    return text;
  }
}
