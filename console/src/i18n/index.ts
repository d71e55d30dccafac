import i18next from 'i18next';
import { initReactI18next } from 'react-i18next';
import type { own } from './en';

export const LANGUAGES = { en: 'English', zh: '简体中文' } as const;
export const LOCALES = { en: 'en', zh: 'zh-CN' } as const;
/** Where the hub serves the documentation. */
export const DOCUMENTATION = { en: '/docs/index.html', zh: '/docs/zh/index.html' } as const;
export type Language = keyof typeof LANGUAGES;
const KEY = 'dth.language';

/** Each plugin adds its own, under the name of its folder. */
export interface PluginTexts {}

declare module 'i18next' {
  interface CustomTypeOptions {
    defaultNS: 'translation';
    resources: { translation: typeof own & PluginTexts };
    returnNull: false;
  }
}

const texts: Record<Language, () => Promise<{ default: object }>> = {
  en: () => import('./en'),
  zh: () => import('./zh'),
};
const theirs: Record<Language, () => Promise<{ default: unknown }>> = {
  en: () => import('@cloudscape-design/components/i18n/messages/all.en'),
  zh: () => import('@cloudscape-design/components/i18n/messages/all.zh-CN'),
};

/** The design system's own texts, of the languages loaded so far. */
export const cloudscapeMessages: Partial<Record<Language, unknown>> = {};

async function load(language: Language) {
  if (cloudscapeMessages[language]) return;
  const [ours, cloudscape] = await Promise.all([texts[language](), theirs[language]()]);
  i18next.addResourceBundle(language, 'translation', ours.default, true, true);
  cloudscapeMessages[language] = cloudscape.default;
}

/** As chosen before, or as the browser has it. */
function preferred(): Language {
  const chosen = localStorage.getItem(KEY);
  if (chosen && chosen in LANGUAGES) return chosen as Language;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

export async function initI18n(language: Language = preferred()) {
  await i18next
    .use(initReactI18next)
    .init({ lng: language, fallbackLng: false, resources: {}, interpolation: { escapeValue: false } }); // React escapes
  await show(language);
}

export async function changeLanguage(language: Language) {
  localStorage.setItem(KEY, language);
  await show(language);
}

async function show(language: Language) {
  await load(language);
  await i18next.changeLanguage(language);
  document.documentElement.lang = LOCALES[language];
}
