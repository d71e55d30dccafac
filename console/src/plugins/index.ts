import type { ComponentType } from 'react';
import type { FormParametersQuery, TaskType } from '../api/generated';
import type { Reading } from './form';
import type { Problem } from './problems';

/** One parameter, as the hub's model of the plugin has it. */
export type Parameter = FormParametersQuery['listTaskParameters'][number];

/** Ways of which a user chooses one. Each has parameters of its own; those of the other ways do not apply. */
export interface Pick {
  id: string;
  options: readonly {
    id: string;
    parameters: readonly string[];
    /** When it can be chosen, where that is not always. */
    applies?: (form: Reading) => boolean;
    /** What the choice itself says, as parameters. */
    sets?: Readonly<Record<string, string>>;
  }[];
}

export interface Section {
  id: string;
  /** Names of parameters, and picks between them. */
  items: readonly (string | Pick)[];
  /** When it is there, where that is not always. */
  applies?: (form: Reading) => boolean;
  /** Closed at first: what few need. */
  folded?: boolean;
  /** Two fields beside each other, where there is room: for short ones. */
  paired?: boolean;
}

export interface Step {
  id: string;
  sections: readonly Section[];
  /** A task can be made without a look at it. */
  optional?: boolean;
  /** What stands below the sections. */
  After?: ComponentType;
}

/**
 * What a kind of task brings to the wizard: its form, as data, and the few fields that are more than a text, a number, a
 * choice. Its texts are `<texts>.steps|sections|picks|parameters|choices` of the languages; where it has none, those of
 * `create` stand, and for parameters those of the model.
 */
export interface TaskPlugin {
  texts: 's3' | 'ecr';
  steps: readonly Step[];
  /** What a new form begins with. */
  start: { values: Readonly<Record<string, string>>; picks: Readonly<Record<string, string>> };
  /** When a parameter applies, where that is not always. */
  applies: Readonly<Record<string, (form: Reading) => boolean>>;
  /** When a parameter is needed, where the model alone cannot tell. */
  needs: Readonly<Record<string, (form: Reading) => boolean>>;
  /** Defaults that are not those of the model. */
  standards: Readonly<Record<string, (form: Reading) => string>>;
  /** Parameters without meaning on one machine; a task that has them keeps them. */
  awsOnly: readonly string[];
  /** Parameters that stay as they are once a task is made. */
  fixed: readonly string[];
  fields: Readonly<Record<string, ComponentType<{ name: string }>>>;
  /** What a secret that is made for a parameter holds, where that is not access keys. */
  secretKind?: (form: Reading, name: string) => 'keys' | 'login';
  /** Texts of a choice's values that stand under another name. */
  choices: Readonly<Record<string, string>>;
  /** What may be typed, for fields that have no default to show. */
  examples: Readonly<Record<string, string>>;
  /** What is wrong with parameters, beyond what the model's limits tell. */
  check: (form: Reading) => Record<string, Problem>;
  /** Shows the result of a forecast. */
  Forecast: ComponentType<{ result: string }>;
}

/** Another kind of task is one more line here. */
export const plugins: Partial<Record<TaskType, () => Promise<TaskPlugin>>> = {
  S3EC2: async () => (await import('./s3')).s3,
  ECR: async () => (await import('./ecr')).ecr,
};
