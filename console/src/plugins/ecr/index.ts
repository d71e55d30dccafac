import { lazy } from 'react';
import type { TaskPlugin } from '../types';
import type texts from './en.json';

declare module '../../i18n' {
  interface PluginTexts {
    ecr: typeof texts;
  }
}

export const plugin: TaskPlugin = {
  type: 'ECR',
  texts: 'ecr',
  order: 2,
  wizard: async () => (await import('./wizard')).wizard,
  tabs: { objects: lazy(async () => ({ default: (await import('./Images')).Images })) },
  counts: [],
};
