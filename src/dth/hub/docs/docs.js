'use strict';

// The search of the documentation. A section is found if it has all words; those with a word in the title come first.

const MOST = 20;
const AROUND = 80;
const field = document.getElementById('search');
const found = document.getElementById('found');
const article = document.querySelector('article');
let sections;

async function load() {
  sections ??= fetch('/docs/search.json').then((answer) => {
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

function weight(section, words) {
  const title = section.title.toLowerCase();
  const text = `${title} ${section.text.toLowerCase()}`;
  if (!words.every((word) => text.includes(word))) return 0;
  return 1 + words.filter((word) => title.includes(word)).length;
}

function excerpt(text, word) {
  const at = Math.max(text.toLowerCase().indexOf(word), 0);
  const from = Math.max(at - AROUND, 0);
  const until = at + word.length + AROUND;
  return `${from ? '… ' : ''}${text.slice(from, until)}${until < text.length ? ' …' : ''}`;
}

function entry(section, word) {
  const link = document.createElement('a');
  link.href = section.url;
  link.textContent = section.title;
  const text = document.createElement('p');
  text.textContent = excerpt(section.text, word);
  return [link, text];
}

function show(results) {
  found.hidden = !results;
  article.hidden = results;
}

async function search() {
  const asked = field.value;
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) {
    show(false);
    return;
  }
  let all;
  try {
    all = await load();
  } catch {
    show(true);
    found.textContent = 'The search cannot be loaded. Check the connection, and type again.';
    return;
  }
  // Another letter may have been typed meanwhile.
  if (field.value !== asked) return;
  show(true);
  const hits = all
    .map((section) => ({ section, weight: weight(section, words) }))
    .filter((hit) => hit.weight)
    .sort((a, b) => b.weight - a.weight);
  const heading = document.createElement('h1');
  heading.textContent = hits.length ? `Found: ${hits.length}` : 'Nothing found';
  found.replaceChildren(heading, ...hits.slice(0, MOST).flatMap((hit) => entry(hit.section, words[0])));
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
