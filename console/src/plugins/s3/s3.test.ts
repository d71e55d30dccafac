import { expect, test } from 'vitest';
import { plugin } from '.';
import { own } from '../../i18n/en';
import { changes, formOf, given, namesOf, newForm, picksOf, read, taskInput } from '../form';
import { problems, saidOf } from '../problems';
import type { Kind, TaskForm } from '../types';
import ours from './en.json';
import PARAMETERS from './parameters.test-data.json';
import { wizard } from './wizard';

const kind: Kind = { plugin, wizard, parameters: PARAMETERS, platform: 'local' };
const complete = { srcBucket: 'a', srcCredentials: 'keys', destBucket: 'b', destCredentials: 'keys' };

function form(values: Record<string, string> = {}, picks: Record<string, string> = {}): TaskForm {
  const empty = newForm('S3EC2', wizard);
  return {
    ...empty,
    values: { ...empty.values, ...complete, ...values },
    picks: { ...empty.picks, ...picks },
  };
}
const shows = (name: string, values = {}, picks = {}, platform = 'local') =>
  read(form(values, picks), { ...kind, platform }).shows(name);
const wrong = (values = {}, picks = {}) =>
  Object.keys(problems(read(form(values, picks), kind), kind)).toSorted();
const sent = (values = {}, picks = {}) => given(read(form(values, picks), kind), kind);
const task = (parameters: Record<string, string>, scheduleType: 'ONE_TIME' | 'FIXED_RATE' = 'ONE_TIME') => ({
  id: 'a-task',
  type: 'S3EC2' as const,
  description: 'before',
  scheduleType,
  parameters: Object.entries(parameters).map(([ParameterKey, ParameterValue]) => ({
    ParameterKey,
    ParameterValue,
  })),
});

test('every parameter has one place', () => {
  const sets = picksOf(wizard).flatMap((pick) => pick.options.flatMap(({ sets = {} }) => Object.keys(sets)));
  const placed = [...wizard.steps.flatMap(namesOf), ...sets];
  expect(placed.toSorted()).toEqual(PARAMETERS.map((each) => each.name).toSorted());
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
  const known = new Set(PARAMETERS.map((each) => each.name));
  const { applies, needs, standards, fields, choices, examples, awsOnly, fixed, start } = wizard;
  const named = [applies, needs, standards, fields, choices, examples, start.values].flatMap(Object.keys);
  expect([...named, ...awsOnly, ...fixed].filter((name) => !known.has(name))).toEqual([]);
});

test('fields appear only where they apply', () => {
  expect(shows('destPutObjectSSEKmsKeyId')).toBe(false);
  expect(shows('destPutObjectSSEKmsKeyId', { destPutObjectSSEType: 'AWS_KMS' })).toBe(true);
  expect(shows('deleteMaxPercent')).toBe(false);
  expect(shows('deleteMaxPercent', { deleteMode: 'Mirror' })).toBe(true);
  expect(shows('deleteMaxPercent', { deleteMode: 'Mirror', srcSkipCompare: 'true' })).toBe(false);
  expect(shows('deleteMode', {}, { copied: 'manifest' })).toBe(false);
  expect(shows('restoreTier')).toBe(false);
  expect(shows('restoreTier', { restoreArchived: 'true' })).toBe(true);
  expect(shows('srcCredentials')).toBe(true);
  expect(shows('srcCredentials', {}, { srcAccess: 'profile' })).toBe(false);
  expect(shows('srcRoleArn', {}, { srcAccess: 'anonymous' })).toBe(false);
  expect(shows('srcExternalId', { srcRoleArn: 'arn:aws:iam::1:role/x' })).toBe(true);
  expect(shows('destKeepsSrcPrefix')).toBe(false);
  expect(shows('destKeepsSrcPrefix', { srcPrefix: 'x/' })).toBe(true);
  expect(shows('ec2VpcId')).toBe(false);
  expect(shows('ec2VpcId', {}, {}, 'aws')).toBe(true);
});

const standard = (values: Record<string, string>) => read(form(values), kind).standard('destStorageClass');

test('storage class and ACL have defaults for AWS alone', () => {
  expect(standard({})).toBe('INTELLIGENT_TIERING');
  expect(standard({ destType: 'MinIO' })).toBe('');
  expect(standard({ destType: '', destEndpoint: 'https://s3.eu-west-1.amazonaws.com' })).toBe(
    'INTELLIGENT_TIERING',
  );
  expect(standard({ destType: '', destEndpoint: 'http://127.0.0.1:9000' })).toBe('');
  expect(standard({ destType: '', destBucket: '/srv/import' })).toBe('');
  const explicit = { destStorageClass: 'INTELLIGENT_TIERING' };
  expect(sent(explicit)).not.toHaveProperty('destStorageClass');
  expect(sent({ ...explicit, destType: 'MinIO', destEndpoint: 'http://x' })).toMatchObject(explicit);
});

test('what is needed follows from what was chosen', () => {
  expect(wrong()).toEqual([]);
  expect(wrong({ srcBucket: ' ', srcCredentials: '' })).toEqual(['srcBucket', 'srcCredentials']);
  expect(wrong({ srcCredentials: '' }, { srcAccess: 'hub' })).toEqual([]);
  expect(wrong({ srcBucket: '/srv/export', srcCredentials: '' })).toEqual([]);
  expect(sent({ destBucket: '/srv/export', destCredentials: '' })).not.toHaveProperty('destCredentials');
  expect(wrong({ srcType: 'MinIO' })).toEqual(['srcEndpoint']);
  expect(wrong({ srcType: 'Aliyun_OSS' })).toEqual(['srcRegion']);
  expect(wrong({ srcType: 'Aliyun_OSS', srcEndpoint: 'oss.example.com' })).toEqual([]);
  expect(wrong({}, { copied: 'inventory' })).toEqual(['srcInventory']);
  expect(wrong({ scheduleRate: '' }, { schedule: 'rate' })).toEqual(['scheduleRate']);
});

test.each([
  [{ maxSize: '1x' }, ['maxSize']],
  [{ srcEndpoint: 'https://a:9000, https://b:9000' }, []],
  [{ srcEndpoint: 'https://a:9000, ftp://b' }, ['srcEndpoint']],
  [{ srcBucket: 'arn:aws:s3:eu-west-1:123456789012:accesspoint/point' }, []],
  [{ srcBucket: 'a/b' }, ['srcBucket']],
  [{ maxSize: '1.5G' }, []],
  [{ minSize: '2M', maxSize: '1M' }, ['maxSize']],
  [{ partSize: '1M' }, ['partSize']],
  [{ partSize: '6 GiB' }, ['partSize']],
  [{ partSize: '5MiB' }, []],
  [{ workerNumber: '11' }, ['workerNumber']],
  [{ workerNumber: 'many' }, ['workerNumber']],
  [{ minCapacity: '30' }, ['minCapacity']],
  [{ maxRequestsPerSecond: '0' }, ['maxRequestsPerSecond']],
  [{ srcBucket: 's3://a/b' }, ['srcBucket']],
  [{ srcEndpoint: 'https://host/path' }, ['srcEndpoint']],
  [{ srcEndpoint: 'https://key:secret@host' }, ['srcEndpoint']],
  [{ srcEndpoint: 'ftp://host' }, ['srcEndpoint']],
  [{ srcEndpoint: 'host:9000' }, []],
  [{ modifiedSince: 'yesterday' }, ['modifiedSince']],
  [{ modifiedSince: '36h', modifiedBefore: '2026-01-31T10:00Z' }, []],
  [{ alarmEmail: 'me' }, ['alarmEmail']],
  [{ budget: '-1' }, ['budget']],
  [{ transferWindow: 'Mon-Fri 20:00-06:00, Sat 00:00-24:00 Europe/Berlin' }, []],
  [{ scheduleTimeZone: 'Europe/Berlin' }, []],
  [{ scheduleTimeZone: '+01:00' }, ['scheduleTimeZone']],
  [{ scheduleTimeZone: 'Nowhere' }, ['scheduleTimeZone']],
  [{ transferWindow: 'at night' }, ['transferWindow']],
  [{ transferWindow: 'Xyz 20:00-06:00' }, ['transferWindow']],
  [{ bandwidthTimetable: 'Mon-Fri 08:00-18:00 10M, 18:00-08:00 unlimited' }, []],
  [{ bandwidthTimetable: '08:00-18:00' }, ['bandwidthTimetable']],
])('%j: wrong is %j', (values, names) => {
  expect(wrong(values)).toEqual(names);
});

test('what does not apply, or is the default anyway, is not sent', () => {
  expect(
    sent({
      destPutObjectSSEKmsKeyId: 'key',
      deleteMaxPercent: '5',
      srcProfile: 'left over',
      multipartThreshold: '64M',
      workerNumber: '4',
      includeMetadata: 'true',
    }),
  ).toEqual(complete);
});

test('a list is sent as JSON, however its lines look', () => {
  expect(sent({ includePatterns: '[ab]*\n\n "x" \r\n' }).includePatterns).toBe('["[ab]*","\\"x\\""]');
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

test('the schedule decides the kind of task', () => {
  const both = { scheduleRate: '2 hours', ec2CronExpression: '0 20 ? * MON-FRI *' };
  expect(schedule(both)).toEqual(['ONE_TIME']);
  expect(schedule(both, { schedule: 'rate' })).toEqual(['FIXED_RATE', 'scheduleRate=2 hours']);
  expect(schedule(both, { schedule: 'cron' })).toEqual([
    'FIXED_RATE',
    'ec2CronExpression=0 20 ? * MON-FRI *',
  ]);
});

test('a task fills the form, and the form says the same task', () => {
  const parameters = {
    srcBucket: 'a',
    srcAnonymous: 'true',
    srcManifest: 'list.csv',
    includePatterns: '["*.jpg","[ab]*"]',
    destBucket: 'b',
    destProfile: 'there',
    destAcl: 'private',
    ec2VpcId: 'vpc-1',
  };
  const filled = formOf(task(parameters), kind);
  expect(filled.picks).toEqual({
    srcAccess: 'anonymous',
    copied: 'manifest',
    destAccess: 'profile',
    schedule: 'once',
  });
  expect(filled.values.includePatterns).toBe('*.jpg\n[ab]*');
  expect(given(read(filled, kind), kind)).toEqual(parameters);
  expect(formOf(task({}, 'FIXED_RATE'), kind).picks.schedule).toBe('cron');
  expect(formOf(task({ scheduleRate: '1 day' }, 'FIXED_RATE'), kind).picks.schedule).toBe('rate');
  expect(formOf(task({}), kind).picks).toMatchObject({ srcAccess: 'hub', copied: 'all', destAccess: 'hub' });
});

test('an edit sends only what is not as before', () => {
  const before = formOf(
    task({
      ...complete,
      destPutObjectSSEType: 'AWS_KMS',
      destPutObjectSSEKmsKeyId: 'key',
      partSize: '16777216',
    }),
    kind,
  );
  expect(changes(before, before, kind)).toEqual({ parameters: [] });
  const after = {
    ...before,
    description: 'after ',
    values: { ...before.values, destPutObjectSSEType: 'AES256', partSize: '16M', maxCapacity: '3' },
    picks: { ...before.picks, schedule: 'rate' },
  };
  expect(changes(before, { ...after, values: { ...after.values, scheduleRate: '1 day' } }, kind)).toEqual({
    description: 'after',
    scheduleType: 'FIXED_RATE',
    parameters: [
      { ParameterKey: 'destPutObjectSSEType', ParameterValue: 'AES256' },
      { ParameterKey: 'destPutObjectSSEKmsKeyId', ParameterValue: '' },
      { ParameterKey: 'maxCapacity', ParameterValue: '3' },
      { ParameterKey: 'scheduleRate', ParameterValue: '1 day' },
    ],
  });
});

test('a line of the hub goes to its field', () => {
  expect(saidOf('destBucket: task 1 writes there', kind)).toEqual({
    destBucket: { said: 'task 1 writes there' },
  });
  expect(saidOf("cron expression: month cannot be 'X'", kind)).toEqual({
    ec2CronExpression: { said: "month cannot be 'X'" },
  });
  expect(saidOf('give one of prefix list, manifest and inventory', kind)).toEqual({});
  expect(saidOf('id: no UUID', kind)).toEqual({});
});
