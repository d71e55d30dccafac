// The hub's schema and src/api/operations/*.graphql -> src/api/generated.ts. `--check` fails where it is stale.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { codegen } from '@graphql-codegen/core';
import * as typedDocument from '@graphql-codegen/typed-document-node';
import * as operations from '@graphql-codegen/typescript-operations';
import { parse } from 'graphql';

const SCHEMA = '../src/dth/hub/schema.graphql';
const FOLDER = 'src/api/operations';
const GENERATED = 'src/api/generated.ts';

const documents = readdirSync(FOLDER)
  .toSorted()
  .map((name) => ({ location: name, document: parse(readFileSync(`${FOLDER}/${name}`, 'utf8')) }));

const code = await codegen({
  filename: GENERATED,
  schema: parse(readFileSync(SCHEMA, 'utf8')),
  documents,
  config: {
    enumsAsTypes: true,
    useTypeImports: true,
    documentMode: 'string',
    avoidOptionals: { field: true },
    strictScalars: true,
    scalars: { AWSDateTime: 'string', AWSJSON: 'string' },
    skipTypename: true,
  },
  plugins: [{ operations: {} }, { typedDocument: {} }],
  pluginMap: { operations, typedDocument },
});
const text = `// Made by scripts/codegen.mjs from the hub's schema and src/api/operations.\n${code}`;

if (!process.argv.includes('--check')) {
  writeFileSync(GENERATED, text);
} else if (readFileSync(GENERATED, 'utf8') !== text) {
  process.stderr.write(`${GENERATED} is stale: run "npm run codegen" in console/\n`);
  process.exit(1);
}
