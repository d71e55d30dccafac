import { expect, test } from 'vitest';
import { commandLine, taskFile } from './taskFile';

const input = {
  id: '0123',
  type: 'S3EC2' as const,
  description: 'it\'s "new": #1\n\u2028',
  scheduleType: 'ONE_TIME' as const,
  parameters: [
    { ParameterKey: 'srcBucket', ParameterValue: 'a' },
    { ParameterKey: 'srcPrefix', ParameterValue: "o'brien $HOME/\u0085" },
    { ParameterKey: 'includePatterns', ParameterValue: '["*.jpg"]' },
  ],
};

test('a task file', () => {
  expect(taskFile(input)).toBe(
    [
      'id: "0123"',
      'type: "S3EC2"',
      String.raw`description: "it's \"new\": #1\n\u2028"`,
      'scheduleType: "ONE_TIME"',
      'parameters:',
      '  srcBucket: "a"',
      String.raw`  srcPrefix: "o'brien $HOME/\u0085"`,
      String.raw`  includePatterns: "[\"*.jpg\"]"`,
      '',
    ].join('\n'),
  );
});

test('a command line that a shell takes word by word', () => {
  expect(commandLine(input)).toBe(
    [
      'dth task create',
      'srcBucket=a',
      String.raw`'srcPrefix=o'\''brien $HOME/` + "\u0085'",
      `'includePatterns=["*.jpg"]'`,
      '--type S3EC2',
      '--once',
      String.raw`--description 'it'\''s "new": #1` + "\n\u2028'",
    ].join(' \\\n  '),
  );
  expect(
    commandLine({ ...input, type: 'ECR', description: '', scheduleType: 'FIXED_RATE', parameters: [] }),
  ).toBe('dth task create \\\n  --type ECR');
});
