import { createContext, useContext } from 'react';
import type { Kind, Problem, Reading, TaskForm } from './types';

/** The form that a field stands in. */
export interface FormState {
  kind: Kind;
  form: TaskForm;
  reading: Reading;
  /** Of an existing task. */
  isEdit: boolean;
  set: (name: string, text: string) => void;
  pick: (pick: string, option: string) => void;
  /** The user was at this field: what is wrong with it is told from now on. */
  touch: (name: string) => void;
  /** What is to be told of a field now. */
  problem: (name: string) => Problem | undefined;
  /** Tells what is wrong with all of these; whether nothing is. */
  complete: (names: readonly string[]) => boolean;
}

export const FormContext = createContext<FormState | null>(null);

export function useTaskForm(): FormState {
  const state = useContext(FormContext);
  if (!state) throw new Error('no FormContext above');
  return state;
}
