/** What a kind of task brings to the console. Types alone: `registry.ts` finds the plugins. */
import type { ParseKeys } from 'i18next';
import type { ComponentType } from 'react';
import type { FormParametersQuery, TaskDetailQuery } from '../api/generated';

/** One parameter, as the hub's model of the plugin has it. */
export type Parameter = FormParametersQuery['listTaskParameters'][number];
export type Task = NonNullable<TaskDetailQuery['getTask']>;

/** What every tab of a task's page is given. `poll`: milliseconds between looks, by whether the task moves. */
export interface TabProps {
  task: Task;
  plugin: TaskPlugin;
  poll: number;
}

/**
 * One kind of task. It is the `plugin` of `plugins/FOLDER/index.ts`, and its texts are `en.json` and `zh.json` beside
 * it. Every page loads it, so that its larger parts are loaded only when they are needed.
 */
export interface TaskPlugin {
  /** Its name in the API. */
  type: string;
  /** The folder, which its texts stand under: `kind.name`, `kind.about`, those of the form, and `words`. */
  texts: string;
  /** Where it stands in lists of kinds. */
  order: number;
  wizard: (parameters: readonly Parameter[]) => Promise<WizardPlan>;
  /** Tabs of its tasks: more than all kinds have, or its own in the place of one. */
  tabs: Readonly<Record<string, ComponentType<TabProps>>>;
  /** The page of the stores that its tasks name, where they name stores. */
  Stores?: ComponentType;
  /** Where both sides of its tasks can be compared: the parameters that two places have besides those of `quick`. */
  compares?: Readonly<Record<string, string>>;
  /** Counts of a run that mean something for this kind, beside those of all kinds. */
  counts: readonly ('archived' | 'verified')[];
}

/**
 * The form of a kind of task, as data, and the few fields that are more than a text, a number, a choice. Its texts are
 * `steps|sections|picks|parameters|choices` of the plugin's; where it has none, those of `create` stand, and for
 * parameters those of the model.
 */
export interface WizardPlan {
  steps: readonly Step[];
  /** The parameters of a page that asks only from where and to where, where the tasks name stores. */
  quick?: readonly { id: string; items: readonly string[] }[];
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

export interface Step {
  id: string;
  sections: readonly Section[];
  /** A task can be made without a look at it. */
  optional?: boolean;
  /** What stands below the sections. */
  After?: ComponentType;
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

/** Ways of which a user chooses one. Each has parameters of its own; those of the other ways do not apply. */
export interface Pick {
  id: string;
  /** When there is a choice at all, where that is not always. */
  applies?: (form: Reading) => boolean;
  options: readonly {
    id: string;
    parameters: readonly string[];
    /** When it can be chosen, where that is not always. */
    applies?: (form: Reading) => boolean;
    /** What the choice itself says, as parameters. */
    sets?: Readonly<Record<string, string>>;
  }[];
}

/** A kind of task, as hub and console have it. */
export interface Kind {
  plugin: TaskPlugin;
  wizard: WizardPlan;
  parameters: readonly Parameter[];
  platform: string;
}

/** What a user has typed: parameters as text, as the hub takes them, except that lists are one a line. */
export interface TaskForm {
  /** Made here, so that creating twice makes one task. */
  id: string;
  type: string;
  description: string;
  values: Readonly<Record<string, string>>;
  /** The way chosen, by the pick's id. */
  picks: Readonly<Record<string, string>>;
}

/** What a form says: `value` is the parameter's default where nothing is typed, or where it does not apply. */
export interface Reading {
  form: TaskForm;
  parameter: (name: string) => Parameter | undefined;
  picked: (pick: string) => string;
  applies: (name: string) => boolean;
  /** Whether there is a field for it. */
  shows: (name: string) => boolean;
  needs: (name: string) => boolean;
  given: (name: string) => boolean;
  value: (name: string) => string;
  standard: (name: string) => string;
  /** Whether it says something else than the default. */
  differs: (name: string) => boolean;
}

/** What is wrong with a parameter: one of our texts, or the hub's own line. */
export type Problem = { key: ParseKeys; values?: Record<string, string | number> } | { said: string };
