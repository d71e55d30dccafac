import Box from '@cloudscape-design/components/box';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import {
  TaskParameterFormDocument,
  type TaskParameterFormQuery,
  type TaskParameterFormQueryVariables,
} from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import type { Task, TaskPlugin } from '../../plugins/types';
import { useTextOr } from './textOr';

type Definition = TaskParameterFormQuery['listTaskParameters'][number];

interface Group {
  name: string;
  given: Given[];
  defaults: Definition[];
}
interface Given {
  name: string;
  value: string;
  definition: Definition | undefined;
}

/** Parameters by group, as the plugin has them; those of unknown names come last. */
export function groupsOf(task: Task, definitions: readonly Definition[]): Group[] {
  const values = new Map(
    task.parameters?.flatMap((each) =>
      each?.ParameterKey && each.ParameterValue ? [[each.ParameterKey, each.ParameterValue] as const] : [],
    ),
  );
  const groups = new Map<string, Group>();
  const group = (name: string) => {
    const found = groups.get(name) ?? { name, given: [], defaults: [] };
    groups.set(name, found);
    return found;
  };
  for (const definition of definitions) {
    const value = values.get(definition.name);
    if (value === undefined) group(definition.group).defaults.push(definition);
    else group(definition.group).given.push({ name: definition.name, value, definition });
    values.delete(definition.name);
  }
  for (const [name, value] of values) group('unknown').given.push({ name, value, definition: undefined });
  return [...groups.values()];
}

const useForm = (type: string | null) =>
  useData(
    TaskParameterFormDocument,
    { type: (type ?? '') as TaskParameterFormQueryVariables['type'] },
    { staleTime: 600_000 },
  );

/** What the hub says of a parameter of this kind of task; undefined for one that it does not have. */
export function useDefinitions(type: string | null): (name: string) => Definition | undefined {
  const definitions = useForm(type).data?.listTaskParameters;
  return (name) => definitions?.find((each) => each.name === name);
}

/** The task's parameters of some groups, or of all: what was given, and folded what was not. */
export function ParameterGroups({
  task,
  plugin,
  only,
}: {
  task: Task;
  plugin: TaskPlugin;
  only?: readonly string[];
}) {
  const { t } = useTranslation();
  const textOr = useTextOr();
  const form = useForm(task.type);
  const groups = groupsOf(task, form.data?.listTaskParameters ?? []).filter(
    (group) => form.data && (!only || only.includes(group.name)),
  );
  return (
    <SpaceBetween size="l">
      <ErrorAlert error={form.error} retry={() => void form.refetch()} />
      {groups.map((group) => (
        <SpaceBetween key={group.name} size="s">
          {(!only || only.length > 1) && (
            <Box variant="h3">{textOr(`detail.parameters.group.${group.name}`, group.name)}</Box>
          )}
          {group.given.length > 0 ? (
            <Values plugin={plugin} given={group.given} />
          ) : (
            <Box color="text-body-secondary">{t('detail.parameters.none')}</Box>
          )}
          {group.defaults.length > 0 && (
            <ExpandableSection headerText={t('detail.parameters.defaults', { count: group.defaults.length })}>
              <Values
                plugin={plugin}
                given={group.defaults.map((definition) => ({
                  name: definition.name,
                  value: definition.default,
                  definition,
                }))}
              />
            </ExpandableSection>
          )}
        </SpaceBetween>
      ))}
    </SpaceBetween>
  );
}

function Values({ plugin, given }: { plugin: TaskPlugin; given: Given[] }) {
  const { t } = useTranslation();
  const textOr = useTextOr();
  const { bytes } = useFormat();
  return (
    <KeyValuePairs
      columns={3}
      items={given.map(({ name, value, definition }) => {
        const texts = `${plugin.texts}.parameters.${name}`;
        const label = textOr(`${texts}.label`, definition?.label ?? name);
        const help = textOr(`${texts}.help`, definition?.help ?? '');
        return {
          label,
          ...(help ? { info: <InfoLink title={label} body={<p>{help}</p>} /> } : {}),
          value: <span className="dth-break">{shown(value, definition)}</span>,
        };
      })}
    />
  );

  function shown(value: string, definition: Definition | undefined) {
    if (value === '') return t('detail.parameters.unset');
    if (definition?.kind === 'boolean') return value === 'true' ? t('common.yes') : t('common.no');
    return definition?.size && /^\d+$/.test(value) ? bytes(Number(value)) : value;
  }
}
