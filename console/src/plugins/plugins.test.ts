import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { kindsOf, pluginOf } from './registry';

const folders = readdirSync('src/plugins', { withFileTypes: true })
  .filter((each) => each.isDirectory())
  .map(({ name }) => name);

test('each folder is one kind of task', () => {
  expect(
    kindsOf()
      .map((type) => pluginOf(type).texts)
      .toSorted(),
  ).toEqual(folders.toSorted());
});

test('known kinds come in their order, and those that only the hub knows after them', () => {
  expect(kindsOf(['Echo', 'ECR', 'S3EC2'])).toEqual(['S3EC2', 'ECR', 'Echo']);
  expect(pluginOf('Echo')).toMatchObject({ type: 'Echo', texts: '', tabs: {}, counts: [] });
});

test('nothing outside the folder of a kind of task names it', () => {
  const types = kindsOf().join('|');
  const name = new RegExp(`["'\`./_](${types}|${folders.join('|')})\\b`);
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(
    (file) =>
      /\.(tsx?|json|graphql)$/.test(file) &&
      !/^plugins.(s3|ecr)\b|^test\b|\.test\.|testSamples|generated/.test(file),
  );
  expect(files.length).toBeGreaterThan(100);
  const naming = files.flatMap((file) =>
    readFileSync(`src/${file}`, 'utf8')
      .split('\n')
      .filter((line) => name.test(line))
      .map((line) => `${file}: ${line.trim()}`),
  );
  expect(naming).toEqual([]);
});
