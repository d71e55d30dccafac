import { lazy } from 'react';
import type { TaskPlugin } from '../types';
import type texts from './en.json';

declare module '../../i18n' {
  interface PluginTexts {
    s3: typeof texts;
  }
}

export const plugin: TaskPlugin = {
  type: 'S3EC2',
  texts: 's3',
  order: 1,
  wizard: async () => (await import('./wizard')).wizard,
  tabs: { events: lazy(async () => ({ default: (await import('./Events')).Events })) },
  Stores: lazy(async () => ({ default: (await import('./stores/Stores')).Stores })),
  compares: { destKeepsSrcPrefix: 'false' },
  counts: ['archived', 'verified'],
};
