import '@testing-library/jest-dom/vitest';
import { cleanup, configure } from '@testing-library/react';
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { initI18n } from '../i18n';

// What jsdom has not, and the design system asks for.
globalThis.matchMedia ??= ((media: string) => ({
  matches: true,
  media,
  addEventListener() {},
  removeEventListener() {},
  addListener() {},
  removeListener() {},
})) as never;
globalThis.ResizeObserver ??= class {
  observe() {}
  unobserve() {}
  disconnect() {}
} as never;
(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

// A busy machine draws a first page in more than the second that is usual here.
configure({ asyncUtilTimeout: 10_000 });
// React only says so. An empty text in a list of the design system has no key, and takes up room.
const { error: complain } = console;
const error = (...said: unknown[]) => {
  if (String(said[0]).includes('unique "key"')) throw new Error(said.join(' '));
  complain(...said);
};
Object.assign(console, { error });
beforeAll(() => initI18n('en'));
beforeEach(() => {
  localStorage.clear();
  sessionStorage.clear();
});
afterEach(() => cleanup());
