'use strict';

// The search of the documentation. A section is found if it has all words; those with a word in the title come first.
// Chinese has no spaces between words: of what is written in one, every pair of characters counts, and half of them
// suffice, so that what stands between the words that matter need not be found.

const MOST = 20;
const AROUND = 80;
const field = document.getElementById('search');
const found = document.getElementById('found');
const article = document.querySelector('article');
const TEXTS = {
  en: {
    found: (count) => `Found: ${count}`,
    nothing: 'Nothing found',
    failed: 'The search cannot be loaded. Check the connection, and type again.',
  },
  'zh-CN': {
    found: (count) => `找到 ${count} 处`,
    nothing: '未找到任何内容',
    failed: '无法加载搜索。请检查网络连接，然后重新输入。',
  },
};
const texts = TEXTS[document.documentElement.lang];
const CHINESE = /(\p{Script=Han}+)/u;
let sections;

async function load() {
  sections ??= fetch(field.form.dataset.sections).then((answer) => {
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  });
  try {
    return await sections;
  } catch (error) {
    // The next letter tries again.
    sections = undefined;
    throw error;
  }
}

// What is asked for: words that a section must have, and pairs of characters.
function parse(asked) {
  const runs = asked
    .toLowerCase()
    .split(/\s+/)
    .flatMap((word) => word.split(CHINESE))
    .filter(Boolean);
  const chinese = runs.filter((run) => CHINESE.test(run));
  return {
    words: runs.filter((run) => !CHINESE.test(run) || run.length < 3),
    pairs: chinese.flatMap((run) =>
      run.length < 3 ? [] : Array.from({ length: run.length - 1 }, (_, at) => run.slice(at, at + 2)),
    ),
    // The longest first: an excerpt is best where a whole run stands.
    runs: runs.toSorted((a, b) => b.length - a.length),
  };
}

function weight(section, { words, pairs, runs }) {
  const title = section.title.toLowerCase();
  const text = `${title} ${section.text.toLowerCase()}`;
  const seen = pairs.filter((pair) => text.includes(pair)).length;
  if (!words.every((word) => text.includes(word)) || seen < pairs.length / 2) return 0;
  const sought = [...words, ...pairs, ...runs];
  return 1 + seen + sought.filter((each) => title.includes(each)).length;
}

function excerpt(text, { runs, pairs }) {
  const lower = text.toLowerCase();
  const word = [...runs, ...pairs].find((each) => lower.includes(each)) ?? '';
  const at = lower.indexOf(word);
  const from = Math.max(at - AROUND, 0);
  const until = at + word.length + AROUND;
  return `${from ? '… ' : ''}${text.slice(from, until)}${until < text.length ? ' …' : ''}`;
}

function entry(section, query) {
  const link = document.createElement('a');
  link.href = section.url;
  link.textContent = section.title;
  const text = document.createElement('p');
  text.textContent = excerpt(section.text, query);
  return [link, text];
}

function show(results) {
  found.hidden = !results;
  article.hidden = results;
}

async function search() {
  const asked = field.value;
  const query = parse(asked);
  if (!query.runs.length) {
    show(false);
    return;
  }
  let all;
  try {
    all = await load();
  } catch {
    show(true);
    found.textContent = texts.failed;
    return;
  }
  // Another letter may have been typed meanwhile.
  if (field.value !== asked) return;
  show(true);
  const hits = all
    .map((section) => ({ section, weight: weight(section, query) }))
    .filter((hit) => hit.weight)
    .sort((a, b) => b.weight - a.weight);
  const heading = document.createElement('h1');
  heading.textContent = hits.length ? texts.found(hits.length) : texts.nothing;
  found.replaceChildren(heading, ...hits.slice(0, MOST).flatMap((hit) => entry(hit.section, query)));
}

field.addEventListener('input', search);
field.form.addEventListener('submit', (event) => event.preventDefault());
// A result may be on this page.
found.addEventListener('click', (event) => {
  if (event.target instanceof HTMLAnchorElement) {
    field.value = '';
    search();
  }
});
