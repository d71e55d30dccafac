import { readdirSync, readFileSync } from 'node:fs';
import ts from 'typescript';
import { expect, test } from 'vitest';
import en from '../i18n/en';
import zh from '../i18n/zh';

function texts(tree: object, path = ''): Map<string, string> {
  return new Map(
    Object.entries(tree).flatMap(([key, value]) =>
      typeof value === 'string'
        ? [[path + key, value] as const]
        : [...texts(value as object, `${path}${key}.`)],
    ),
  );
}
/** The hub gives the English texts of parameters. */
const ofHub = readdirSync('src/plugins', { withFileTypes: true })
  .filter((each) => each.isDirectory())
  .flatMap(({ name: folder }) => {
    const file = `src/plugins/${folder}/parameters.test-data.json`;
    const described = JSON.parse(readFileSync(file, 'utf8')) as {
      name: string;
      label: string;
      help: string;
    }[];
    return described.flatMap(({ name, label, help }) => [
      [`${folder}.parameters.${name}.label`, label] as const,
      [`${folder}.parameters.${name}.help`, help] as const,
    ]);
  });
const english = new Map([...texts(en), ...ofHub]);
const chinese = texts(zh);
const holes = (text: string) => [...text.matchAll(/\{\{\s*(\w+)/g)].map((match) => match[1]).toSorted();

test('both languages have the same texts, with the same holes', () => {
  expect([...chinese.keys()].toSorted()).toEqual([...english.keys()].toSorted());
  for (const [key, text] of english) expect([key, holes(chinese.get(key) ?? '')]).toEqual([key, holes(text)]);
});

test('no text is empty, and Chinese is Chinese', () => {
  const same = new Set<string>();
  for (const [key, text] of chinese) {
    expect(text.trim(), key).not.toBe('');
    if (!/\p{Script=Han}/u.test(text)) same.add(text);
  }
  // Names and signs that are the same in every language.
  for (const text of same) expect([...english.values()].includes(text), text).toBe(true);
});

/** Texts between tags, and in attributes that people read. */
function literals(file: string): string[] {
  const source = ts.createSourceFile(
    file,
    readFileSync(file, 'utf8'),
    ts.ScriptTarget.ES2022,
    true,
    ts.ScriptKind.TSX,
  );
  const found: string[] = [];
  const shown =
    /^(label|title|header|headerText|text|description|placeholder|alt|aria-?label|ariaLabel|errorText|constraintText)$/i;
  function visit(node: ts.Node) {
    if (ts.isJsxText(node) && /\p{L}/u.test(node.text)) found.push(node.text.trim());
    const named =
      ts.isJsxAttribute(node) || ts.isPropertyAssignment(node)
        ? shown.test(node.name.getText(source))
        : false;
    if (named) {
      const value = (node as ts.JsxAttribute | ts.PropertyAssignment).initializer;
      // A word in lower case is a name of ours, of a text or a field.
      if (value && ts.isStringLiteral(value) && /^\p{Lu}|\p{L}\s/u.test(value.text)) found.push(value.text);
    }
    ts.forEachChild(node, visit);
  }
  visit(source);
  return found;
}

test('no text stands outside the languages', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter(
    (name) => /\.tsx?$/.test(name) && !/test|generated|i18n/.test(name),
  );
  expect(files.length).toBeGreaterThan(10);
  expect(files.flatMap((name) => literals(`src/${name}`).map((text) => `${name}: ${text}`))).toEqual([]);
});
