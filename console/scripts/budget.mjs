// How much JavaScript a user downloads, compressed: what the first page needs, and all of it. More than the budget
// fails the build.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const FIRST = 350 * 1024;
const ALL = 550 * 1024;

const out = process.env.DTH_CONSOLE_OUT ?? '../src/dth/_console';
const manifest = JSON.parse(readFileSync(`${out}/manifest.json`, 'utf8'));
const sizes = new Map();
for (const { file } of Object.values(manifest)) {
  if (file.endsWith('.js')) sizes.set(file, gzipSync(readFileSync(`${out}/${file}`), { level: 9 }).length);
}

/** The files that an entry of the manifest imports, itself among them. */
function needed(name, seen = new Set()) {
  const entry = manifest[name];
  if (seen.has(entry.file)) return seen;
  seen.add(entry.file);
  for (const each of entry.imports ?? []) needed(each, seen);
  return seen;
}
const sum = (files) => [...files].reduce((total, file) => total + (sizes.get(file) ?? 0), 0);
const first = sum(needed('index.html'));
// A user has one language: the other's texts never come.
const other = Object.values(manifest).filter((entry) => /zh/i.test(entry.src ?? entry.name ?? ''));
const all = sum(sizes.keys()) - sum(other.map((entry) => entry.file));
const kib = (bytes) => `${(bytes / 1024).toFixed(0)} KiB`;

process.stdout.write(
  `console: ${kib(first)} of JavaScript to the sign-in (at most ${kib(FIRST)}), ${kib(all)} in all (at most ${kib(ALL)})\n`,
);
if (first > FIRST || all > ALL) {
  process.stderr.write('the console is over its budget\n');
  process.exit(1);
}
