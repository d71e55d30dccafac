import type { taskInput } from '../../plugins/form';

type Input = ReturnType<typeof taskInput>;

/**
 * The task as `dth task apply -f` reads it: YAML, each text between double quotes, as JSON has them. What YAML takes for
 * a line end or refuses is escaped as well.
 */
export function taskFile({ id, type, description, scheduleType, parameters }: Input): string {
  const head = Object.entries({ id, type, description, scheduleType });
  return [
    ...head.map(([name, text]) => `${name}: ${quoted(text)}`),
    `parameters:${parameters.length ? '' : ' {}'}`,
    ...parameters.map(({ ParameterKey, ParameterValue }) => `  ${ParameterKey}: ${quoted(ParameterValue)}`),
    '',
  ].join('\n');
}

const quoted = (text: string) =>
  JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** The command that creates the same task, for a POSIX shell. */
export function commandLine({ type, description, scheduleType, parameters }: Input): string {
  return [
    'dth task create',
    ...parameters.map(({ ParameterKey, ParameterValue }) => word(`${ParameterKey}=${ParameterValue}`)),
    `--type ${type}`,
    ...(scheduleType === 'ONE_TIME' ? ['--once'] : []),
    ...(description ? [`--description ${word(description)}`] : []),
  ].join(' \\\n  ');
}

const word = (text: string) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
