/** The form of a kind of task that the console has no folder for, made from what the hub says of its parameters. */
import { Copyable } from '../components/Copyable';
import { scheduleExamples, scheduleFields, scheduleNeeds, scheduleProblems, scheduleStep } from './schedule';
import { namesOf } from './form';
import type { Parameter, WizardPlan } from './types';

export function wizardOf(parameters: readonly Parameter[]): WizardPlan {
  const ofSchedule = new Set(namesOf(scheduleStep));
  const own = parameters.filter(({ name }) => !ofSchedule.has(name));
  const groups = [...new Set(own.map(({ group }) => group))];
  const sections = groups.map((id) => ({
    id,
    items: own.filter(({ group }) => group === id).map(({ name }) => name),
  }));
  return {
    steps: [{ id: 'parameters', sections }, scheduleStep],
    start: { values: {}, picks: { schedule: 'once' } },
    applies: {},
    needs: scheduleNeeds,
    standards: {},
    check: scheduleProblems,
    awsOnly: [],
    fixed: [],
    fields: scheduleFields,
    choices: {},
    examples: scheduleExamples,
    Forecast,
  };
}

/** As the hub says it: what it means is the plugin's own matter. */
function Forecast({ result }: { result: string }) {
  return <Copyable code text={JSON.stringify(JSON.parse(result), null, 2)} />;
}
