import { expect, test } from 'vitest';
import { pieces, printable, visible } from './visible';

test('what nobody would see is written out', () => {
  expect(visible('a\nb\rc\td\0e\x1b[31m\x7f')).toBe('a\\nb\\rc\\td\\0e\\x1b[31m\\x7f');
  expect(visible('photo\u202egnp.exe')).toBe('photo\\u{202e}gnp.exe');
  expect(visible('a\u200bb\ufeff')).toBe('a\\u{200b}b\\u{feff}');
  expect(visible('half \ud800 of a pair')).toBe('half \\u{d800} of a pair');
  expect(visible('\u{e0041}')).toBe('\\u{e0041}');
});

test('spaces that would be lost are shown, others stay', () => {
  expect(visible(' two  words ')).toBe('\u2423two\u2423\u2423words\u2423');
  expect(visible('two words')).toBe('two words');
  expect(visible('no\u00a0break')).toBe('no\\xa0break');
});

test('every script and what looks like markup stays as it is', () => {
  for (const key of ['照片/2024/夏.jpg', 'é', '👩🏽.png', '<img src=x onerror=alert(1)>', '\\n', '../..//x'])
    expect(pieces(key)).toEqual([{ at: 0, text: key, hidden: false }]);
});

test('what stands for something else is told apart from what is there', () => {
  expect(pieces('\\n\nx')).toEqual([
    { at: 0, text: '\\n', hidden: false },
    { at: 2, text: '\\n', hidden: true },
    { at: 3, text: 'x', hidden: false },
  ]);
});

test('other texts keep their spaces', () => {
  expect(printable('  two  words\n\u202eend ')).toBe('  two  words\\n\\u{202e}end ');
});
