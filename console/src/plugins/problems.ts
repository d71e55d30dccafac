import { amount, sizeText } from './size';
import type { Kind, Parameter, Problem, Reading } from './types';

/** What is wrong with a form, by parameter, as far as it can be told here; the hub has the last word. */
export function problems(reading: Reading, { wizard, parameters }: Kind): Record<string, Problem> {
  const found: Record<string, Problem> = {};
  for (const parameter of parameters) {
    const problem = reading.given(parameter.name)
      ? problemOf(parameter, reading.value(parameter.name))
      : reading.needs(parameter.name) && ({ key: 'common.required' } as const);
    if (problem) found[parameter.name] = problem;
  }
  const all = { ...wizard.check(reading), ...found };
  return Object.fromEntries(Object.entries(all).filter(([name]) => reading.shows(name)));
}

/** What is wrong with one value by the limits of the model. */
export function problemOf(parameter: Parameter, text: string): Problem | null {
  if (parameter.kind === 'choice' && !parameter.allowed.includes(text))
    return { key: 'create.problems.choice', values: { value: text } };
  if (!parameter.size && parameter.kind !== 'number') return null;
  const number = parameter.size ? amount(text) : /^\s*-?\d+(\.\d+)?\s*$/.test(text) ? Number(text) : NaN;
  if (Number.isNaN(number))
    return { key: parameter.size ? 'create.problems.size' : 'create.problems.number' };
  const { minimum, maximum } = limits(parameter);
  if (parameter.minimum !== null && number < parameter.minimum)
    return { key: 'create.problems.least', values: { minimum } };
  if (parameter.maximum !== null && number > parameter.maximum)
    return { key: 'create.problems.most', values: { maximum } };
  return null;
}

/** The limits as they may be typed; empty where there are none. */
export function limits({ minimum, maximum, size }: Parameter): { minimum: string; maximum: string } {
  const text = (limit: number | null) => (limit === null ? '' : size ? sizeText(limit) : String(limit));
  return { minimum: text(minimum), maximum: text(maximum) };
}

/** A line of the hub such as `srcBucket: a bucket is needed`, as a problem of the parameter that it names. */
export function saidOf(message: string, { parameters }: Kind): Record<string, Problem> {
  const [, subject, said] = /^(\w+(?: expression)?): (.*)$/s.exec(message) ?? [];
  const name = subject === 'schedule' || subject === 'cron expression' ? 'ec2CronExpression' : subject;
  const known = parameters.some((each) => each.name === name);
  return name && said && known ? { [name]: { said } } : {};
}
