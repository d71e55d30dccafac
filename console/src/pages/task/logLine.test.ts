import { expect, test } from 'vitest';
import { kindsOf, parseLine } from './logLine';

test('a line as the hub tells it: level, message, fields', () => {
  expect(parseLine('INFO started role="worker" pid=12')).toEqual({
    level: 'info',
    text: 'started',
    fields: [
      ['role', 'worker'],
      ['pid', '12'],
    ],
  });
  expect(parseLine('ERROR given up')).toEqual({ level: 'error', text: 'given up', fields: [] });
});

test('what looks like a field inside of a text is not one', () => {
  const line = parseLine('WARNING retry key="a b=1 c=\\"x\\"" counts={"done":1, "failed=": 2} tries=[1,2]');
  expect(line).toEqual({
    level: 'warning',
    text: 'retry',
    fields: [
      ['key', 'a b=1 c="x"'],
      ['counts', '{"done":1,"failed=":2}'],
      ['tries', '[1,2]'],
    ],
  });
  expect(parseLine('INFO set a=b and go')).toEqual({ level: 'info', text: 'set a=b and go', fields: [] });
  expect(parseLine('INFO where x=y status=200').fields).toEqual([['status', '200']]);
});

test('JSON lines', () => {
  expect(parseLine('{"at":1,"level":"error","message":"no","key":"a","n":2}')).toEqual({
    level: 'error',
    text: 'no',
    fields: [
      ['key', 'a'],
      ['n', '2'],
    ],
  });
});

test('whatever a process printed stays as it is', () => {
  for (const text of ['Traceback (most recent call last):', '{broken', '', 'HELLO there', '{"a": <b>}'])
    expect(parseLine(text)).toEqual({ level: '', text, fields: [] });
  const many = `INFO x${' a=1'.repeat(2000)}`;
  expect(parseLine(many)).toEqual({ level: 'info', text: many.slice(5), fields: [] });
});

test('kinds of processes are those of which there are several', () => {
  expect(kindsOf(['worker-1', 'finder', 'worker-2', 'worker-3', 'controller'])).toEqual(['worker-*']);
  expect(kindsOf(['machine/i-1', 'worker/a', 'worker/b', '2026/12/03/[$LATEST]f'])).toEqual(['worker/*']);
});
