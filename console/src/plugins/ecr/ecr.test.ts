import { expect, test } from 'vitest';
import { plugin } from '.';
import { own } from '../../i18n/en';
import { changes, formOf, given, namesOf, newForm, picksOf, read, taskInput } from '../form';
import { problems } from '../problems';
import type { Kind, TaskForm } from '../types';
import ours from './en.json';
import PARAMETERS from './parameters.test-data.json';
import { wizard } from './wizard';

const kind: Kind = { plugin, wizard, parameters: PARAMETERS, platform: 'local' };
const complete = {
  srcRegion: 'eu-west-1',
  srcCredential: 'keys',
  destRegion: 'us-east-1',
  destCredential: 'keys',
};
const PUBLIC = { sourceType: 'Public' };
const REGISTRY = { sourceType: 'Registry', destType: 'Registry', destRegistry: 'harbor.example.com' };
const LIST = { images: 'selected' };

function form(values: Record<string, string> = {}, picks: Record<string, string> = {}): TaskForm {
  const empty = newForm('ECR', wizard);
  return {
    ...empty,
    values: { ...empty.values, ...complete, ...values },
    picks: { ...empty.picks, ...picks },
  };
}
const shown = (values = {}, picks = {}, platform = 'local') => {
  const reading = read(form(values, picks), { ...kind, platform });
  return PARAMETERS.map((each) => each.name).filter(reading.shows);
};
const wrong = (values = {}, picks = {}) =>
  Object.keys(problems(read(form(values, picks), kind), kind)).toSorted();
const sent = (values = {}, picks = {}) => given(read(form(values, picks), kind), kind);
const task = (parameters: Record<string, string>, scheduleType: 'ONE_TIME' | 'FIXED_RATE' = 'ONE_TIME') => ({
  id: 'a-task',
  type: 'ECR' as const,
  description: 'before',
  scheduleType,
  parameters: Object.entries(parameters).map(([ParameterKey, ParameterValue]) => ({
    ParameterKey,
    ParameterValue,
  })),
});

test('every parameter has one place', () => {
  const sets = picksOf(wizard).flatMap((pick) => pick.options.flatMap(({ sets = {} }) => Object.keys(sets)));
  // The schedule has fields that only objects know.
  const placed = wizard.steps
    .flatMap(namesOf)
    .filter((name) => !['budget', 'bandwidthTimetable'].includes(name));
  expect([...placed, ...new Set(sets)].toSorted()).toEqual(PARAMETERS.map((each) => each.name).toSorted());
});

const text = (path: string) =>
  [ours, own.create].some((tree) =>
    path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], tree),
  );

test('everything in the form has a text', () => {
  const paths = [
    ...wizard.steps.flatMap(({ id }) => [`steps.${id}.title`, `steps.${id}.about`]),
    ...wizard.steps.flatMap(({ sections }) => sections.map(({ id }) => `sections.${id}`)),
    ...picksOf(wizard).flatMap(({ id, options }) => [
      `picks.${id}.label`,
      ...options.flatMap((option) => [`picks.${id}.${option.id}.label`, `picks.${id}.${option.id}.hint`]),
    ]),
  ];
  expect(paths.filter((path) => !text(path))).toEqual([]);
});

test('names in the rules are those of parameters', () => {
  const known = new Set([...PARAMETERS.map((each) => each.name), 'bandwidthTimetable']);
  const { applies, needs, standards, fields, choices, examples, awsOnly, fixed, start } = wizard;
  const named = [applies, needs, standards, fields, choices, examples, start.values].flatMap(Object.keys);
  expect([...named, ...awsOnly, ...fixed].filter((name) => !known.has(name))).toEqual([]);
});

test('Amazon ECR has region and account, another registry a host', () => {
  const amazon = ['srcRegion', 'srcAccountId', 'srcRoleArn', 'srcEndpoint', 'srcRegistryHost', 'srcCaBundle'];
  const theirs = ['destRegion', 'destAccountId', 'destTagMutability', 'destScanOnPush', 'destKmsKey'];
  expect(shown()).toEqual(expect.arrayContaining([...amazon, ...theirs, 'destRepositoryTags']));
  expect(shown().filter((name) => /Registry$|PlainHttp$/.test(name))).toEqual([]);
  const others = shown(REGISTRY);
  expect(others).toEqual(
    expect.arrayContaining(['srcRegistry', 'srcPlainHttp', 'srcCaBundle', 'destRegistry', 'destPlainHttp']),
  );
  const foreign = new Set([...amazon, ...theirs]);
  foreign.delete('srcCaBundle');
  expect(others.filter((name) => foreign.has(name))).toEqual([]);
});

test('public images are named, and nobody signs in', () => {
  const reading = read(form({ ...PUBLIC, srcImageList: 'alpine' }), kind);
  expect(reading.picked('images')).toBe('selected');
  expect(shown(PUBLIC).filter((name) => name.startsWith('src'))).toEqual(['srcList', 'srcImageList']);
  expect(wrong({ ...PUBLIC, srcCredential: '' })).toEqual(['srcImageList']);
  expect(sent(PUBLIC)).not.toHaveProperty('srcCredential'); // chosen before it was public
  expect(sent({ ...PUBLIC, srcImageList: 'alpine' })).toMatchObject({ ...PUBLIC, srcImageList: 'alpine' });
});

const FILTERS = ['includeRepositories', 'includeTags', 'excludeTags', 'newestTags', 'pushedSince'];
const filters = (values = {}, picks = {}) => shown(values, picks).filter((name) => FILTERS.includes(name));

test('what is named by its tag is not chosen from', () => {
  expect(filters()).toEqual(FILTERS);
  expect(filters({ srcImageList: 'a:v1,b' }, LIST)).toEqual([]);
  expect(filters({ srcImageList: 'a:v1\nb:ALL_TAGS' }, LIST)).toEqual(FILTERS.slice(1));
});

test('exceptions are asked for where the rule has some', () => {
  expect(shown()).not.toContain('destMutabilityExclusions');
  const values = { destTagMutability: 'IMMUTABLE_WITH_EXCLUSION' };
  expect(shown(values)).toContain('destMutabilityExclusions');
  expect(wrong(values)).toEqual(['destMutabilityExclusions']);
  expect(sent({ destMutabilityExclusions: 'left over' })).not.toHaveProperty('destMutabilityExclusions');
});

const some = (name: string) => /^ecs|budget|bandwidth/.test(name);

test('ECS is of AWS alone; objects’ limits are nowhere', () => {
  expect(shown().filter(some)).toEqual([]);
  expect(shown({}, {}, 'aws').filter(some)).toEqual([
    'ecsClusterName',
    'ecsVpcId',
    'ecsSubnetA',
    'ecsSubnetB',
  ]);
});

const kindOf = (values: Record<string, string>, name: string) =>
  wizard.secretKind?.(read(form(values), kind), name);

test('a secret is of access keys for Amazon ECR, of user and password elsewhere', () => {
  expect(kindOf({}, 'srcCredential')).toBe('keys');
  expect(kindOf({ sourceType: 'Registry' }, 'srcCredential')).toBe('login');
  expect(kindOf({ sourceType: 'Registry' }, 'destCredential')).toBe('keys');
  expect(kindOf({ destType: 'Registry' }, 'destCredential')).toBe('login');
});

test.each([
  [{}, []],
  [{ srcRegion: '', destRegion: '' }, ['destRegion', 'srcRegion']],
  [{ srcAccountId: '123' }, ['srcAccountId']],
  [{ ...REGISTRY, destRegistry: '' }, ['destRegistry']],
  [{ ...REGISTRY, srcRegistry: 'https://quay.io' }, ['srcRegistry']],
  [{ ...REGISTRY, srcRegistry: 'quay.io/team' }, ['srcRegistry']],
  [{ ...REGISTRY, srcRegistry: '[::1]:5000' }, []],
  [{ destPrefix: 'Team' }, ['destPrefix']],
  [{ destPrefix: '/team/mirror/' }, []],
  [{ renameRules: 'a=b\nc' }, ['renameRules']],
  [{ platforms: 'linux/amd64\nlinux/arm/v7' }, []],
  [{ platforms: 'linux' }, ['platforms']],
  [{ destRepositoryTags: 'team=a=b\n=x' }, ['destRepositoryTags']],
  [{ pushedSince: 'yesterday' }, ['pushedSince']],
  [{ pushedSince: '36h' }, []],
  [{ pushedSince: '2026-01-31' }, []],
  [{ newestTags: '0' }, ['newestTags']],
  [{ maxConcurrency: '65' }, ['maxConcurrency']],
  [{ copyTimeout: '5' }, ['copyTimeout']],
])('%j: wrong is %j', (values, names) => {
  expect(wrong(values)).toEqual(names);
});

const schedule = (values = {}, picks = {}) => {
  const { scheduleType, parameters } = taskInput(form(values, picks), kind);
  return [
    scheduleType,
    ...parameters.flatMap((each) =>
      /schedule|cron/i.test(each.ParameterKey) ? [`${each.ParameterKey}=${each.ParameterValue}`] : [],
    ),
  ];
};

test('a new task runs daily; once and a rate can be chosen', () => {
  expect(schedule()).toEqual(['FIXED_RATE']); // by the model's own expression
  expect(schedule({}, { schedule: 'once' })).toEqual(['ONE_TIME']);
  expect(schedule({}, { schedule: 'rate' })).toEqual(['FIXED_RATE', 'scheduleRate=1 day']);
  expect(schedule({ ec2CronExpression: '0 20 ? * MON-FRI *' })).toEqual([
    'FIXED_RATE',
    'ec2CronExpression=0 20 ? * MON-FRI *',
  ]);
});

const picked = (parameters: Record<string, string>) =>
  read(formOf(task(parameters), kind), kind).picked('images');

test('a task that says ALL itself, as existing clients do, is one of all images', () => {
  expect(picked({ ...complete, srcList: 'ALL' })).toBe('all');
  expect(picked({ ...complete, srcList: 'ALL', srcImageList: 'a:v1' })).toBe('all');
  expect(picked({ ...complete, srcList: 'SELECTED', srcImageList: 'a:v1' })).toBe('selected');
  expect(picked({ ...complete, srcImageList: 'a:v1' })).toBe('selected');
  expect(picked(complete)).toBe('all');
  const before = formOf(task({ ...complete, srcList: 'ALL' }), kind);
  expect(Object.keys(problems(read(before, kind), kind))).toEqual([]);
  const after = {
    ...before,
    picks: { ...before.picks, images: 'selected' },
    values: { ...before.values, srcList: 'SELECTED', srcImageList: 'a:v1' }, // as the wizard sets them
  };
  expect(changes(before, after, kind).parameters).toEqual([
    { ParameterKey: 'srcList', ParameterValue: 'SELECTED' },
    { ParameterKey: 'srcImageList', ParameterValue: 'a:v1' },
  ]);
  expect(changes(after, before, kind).parameters).toEqual([
    { ParameterKey: 'srcList', ParameterValue: '' },
    { ParameterKey: 'srcImageList', ParameterValue: '' },
  ]);
});

test('a task fills the form, and the form says the same task', () => {
  const parameters = {
    ...REGISTRY,
    srcRegistry: 'quay.io',
    srcList: 'SELECTED',
    srcImageList: 'a:v1,b:ALL_TAGS',
    srcCredential: 'robot',
    includeTags: '["v1.*"]',
    scheduleRate: '6 hours',
  };
  const filled = formOf(task(parameters, 'FIXED_RATE'), kind);
  expect(filled.picks).toEqual({
    srcAccess: 'secret',
    destAccess: 'hub',
    images: 'selected',
    schedule: 'rate',
  });
  expect(given(read(filled, kind), kind)).toEqual(parameters);
});
