'use strict';

// The search of the documentation. A section is found if it has all words; those with a word in the title come first.
// Chinese has no spaces between words: of what is written in one, every pair of characters counts. A section needs half
// of those that the best one has, so what stands between the words that matter need not be found.

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
    return answer.json().then((all) =>
      all.map((section) => ({
        ...section,
        lower: `${section.title} ${section.text}`.toLowerCase(),
      })),
    );
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

function hits(sections, { words, pairs, runs }) {
  const counted = sections
    .filter(({ lower }) => words.every((word) => lower.includes(word)))
    .map((section) => ({ section, seen: pairs.filter((pair) => section.lower.includes(pair)).length }));
  const most = Math.max(0, ...counted.map(({ seen }) => seen));
  const sought = [...words, ...pairs, ...runs];
  const titled = (title) => sought.filter((each) => title.toLowerCase().includes(each)).length;
  return counted
    .filter(({ seen }) => !pairs.length || (seen && seen >= most / 2))
    .map(({ section, seen }) => ({ section, weight: seen + titled(section.title) }))
    .sort((a, b) => b.weight - a.weight)
    .map(({ section }) => section);
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
  const results = hits(all, query);
  const heading = document.createElement('h1');
  heading.textContent = results.length ? texts.found(results.length) : texts.nothing;
  found.replaceChildren(heading, ...results.slice(0, MOST).flatMap((section) => entry(section, query)));
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
