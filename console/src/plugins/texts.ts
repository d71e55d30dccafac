import { useTranslation } from 'react-i18next';
import { sizeText } from './size';
import type { Kind, Parameter, Problem } from './types';

/** The texts of a plugin's form. Their keys follow from ids, so that nothing here is checked by types, but by a test. */
export function useTexts({ plugin, wizard }: Kind) {
  const { t, i18n } = useTranslation();
  const any = t as unknown as (key: string, values?: object) => string;

  /** The plugin's text, else the wizard's, else the fallback. */
  function text(path: string, fallback = ''): string {
    const key = [`${plugin.texts}.${path}`, `create.${path}`].find((each) => i18n.exists(each));
    return key ? any(key) : fallback;
  }
  const label = (parameter: Parameter) => text(`parameters.${parameter.name}.label`, parameter.label);
  const choice = (name: string, value: string, part: 'labels' | 'hints' = 'labels') =>
    text(`choices.${wizard.choices[name] ?? name}.${part}.${value || 'unset'}`);

  /** A value as people read it. */
  function shown(parameter: Parameter, value: string): string {
    if (parameter.kind === 'boolean') return value === 'true' ? t('common.yes') : t('common.no');
    if (parameter.kind === 'choice') return choice(parameter.name, value) || value || t('create.unset');
    if (parameter.size && /^\d+$/.test(value)) return sizeText(Number(value));
    if (parameter.kind === 'number' && value) return String(Number(value));
    return value;
  }

  return {
    text,
    /** A section's title; in a form that is made from the model, it is a group of parameters. */
    section: (id: string) =>
      text(`sections.${id}`) || any(`detail.parameters.group.${id}`, { defaultValue: id }),
    label,
    help: (parameter: Parameter) => text(`parameters.${parameter.name}.help`, parameter.help),
    choice,
    shown,
    problem: (problem: Problem | undefined) =>
      !problem ? '' : 'said' in problem ? problem.said : any(problem.key, problem.values),
  };
}
