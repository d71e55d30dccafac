import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useParams, useSearchParams } from 'react-router';
import {
  CreateHubDocument,
  CreateTaskDocument,
  EditTaskDocument,
  FormParametersDocument,
  FormTaskDocument,
  type FormTaskQuery,
  HomeDocument,
  TaskDetailDocument,
  TasksDocument,
  type FormParametersQueryVariables,
} from '../../api/generated';
import { ApiError } from '../../api/client';
import { useChange, useData } from '../../api/hooks';
import { ErrorAlert } from '../../components/ErrorAlert';
import { changes, formOf, newForm, taskInput } from '../../plugins/form';
import { kindsOf, pluginOf } from '../../plugins/registry';
import type { Kind, TaskForm } from '../../plugins/types';
import { TaskWizard } from './TaskWizard';

const ONCE = { staleTime: Infinity, gcTime: 0 } as const; // what is being edited does not change below one's fingers

/** A new task: from nothing, or with `?clone=ID` from another one. */
export function CreateTask() {
  const [params] = useSearchParams();
  const clone = params.get('clone');
  if (!clone) return <NewTask />;
  return <ExistingTask key={clone} id={clone} Then={ClonedTask} />;
}

/** The same form for a task that exists. */
export function EditTask() {
  const { id = '' } = useParams();
  return <ExistingTask key={id} id={id} Then={ChangedTask} />;
}

function NewTask() {
  const [params, setParams] = useSearchParams();
  const hub = useData(CreateHubDocument, {}, ONCE);
  const types = hub.data ? kindsOf(hub.data.hubInfo.plugins) : [];
  const type = types.find((each) => each === params.get('type')) ?? types[0];
  const save = useCreation();
  if (!hub.data || !type) return <Loading error={hub.error} retry={() => void hub.refetch()} />;
  return (
    <WithKind key={type} type={type}>
      {(kind) => (
        <TaskWizard
          kind={kind}
          draft={`new.${type}`}
          initial={newForm(type, kind.wizard)}
          types={types}
          onType={(type) => setParams({ type }, { replace: true })}
          save={(form) => save(form, kind)}
          back="/tasks"
        />
      )}
    </WithKind>
  );
}

type Task = NonNullable<FormTaskQuery['getTask']>;

function ExistingTask({ id, Then }: { id: string; Then: (props: { task: Task; kind: Kind }) => ReactNode }) {
  const { data, error, refetch } = useData(FormTaskDocument, { id }, ONCE);
  const task = data?.getTask;
  if (!task) return <Loading error={error} retry={() => void refetch()} />;
  return <WithKind type={task.type ?? ''}>{(kind) => <Then task={task} kind={kind} />}</WithKind>;
}

function ClonedTask({ task, kind }: { task: Task; kind: Kind }) {
  const save = useCreation();
  return (
    <TaskWizard
      kind={kind}
      draft={`clone.${task.id}`}
      initial={{ ...formOf(task, kind), id: crypto.randomUUID() }}
      save={(form) => save(form, kind)}
      back="/tasks"
    />
  );
}

function ChangedTask({ task, kind }: { task: Task; kind: Kind }) {
  const change = useChange(EditTaskDocument, [TaskDetailDocument, TasksDocument, HomeDocument]);
  return (
    <TaskWizard
      kind={kind}
      draft={`edit.${task.id}`}
      initial={formOf(task, kind)}
      isEdit
      save={async (form, before) => {
        await change.mutateAsync({ id: task.id, input: changes(before, form, kind) });
        return task.id;
      }}
      back={`/tasks/${task.id}`}
    />
  );
}

export function useCreation() {
  const create = useChange(CreateTaskDocument, [TasksDocument, HomeDocument]);
  return async (form: TaskForm, kind: Kind) => {
    const made = await create.mutateAsync({ input: taskInput(form, kind) }).catch((error: unknown) => {
      // The id is that of a task made from a copy of this tab: this one becomes a task of its own.
      if (!(error instanceof ApiError && error.code === 'CONFLICT' && error.message.includes(form.id)))
        throw error;
      return create.mutateAsync({ input: taskInput({ ...form, id: crypto.randomUUID() }, kind) });
    });
    return made.createTask?.id ?? form.id;
  };
}

/** Its child once the hub's parameters and the console's form of this type are here. */
export function WithKind({ type, children }: { type: string; children: (kind: Kind) => ReactNode }) {
  const plugin = pluginOf(type);
  const hub = useData(CreateHubDocument, {}, ONCE);
  const form = useData(FormParametersDocument, { type: type as FormParametersQueryVariables['type'] }, ONCE);
  const parameters = form.data?.listTaskParameters;
  const wizard = useQuery({
    queryKey: ['wizard', type],
    queryFn: () => plugin.wizard(parameters ?? []),
    enabled: Boolean(parameters),
    ...ONCE,
  });
  if (!hub.data || !parameters || !wizard.data)
    return (
      <Loading
        error={hub.error ?? form.error ?? wizard.error}
        retry={() => void Promise.all([hub.refetch(), form.refetch(), wizard.refetch()])}
      />
    );
  return children({
    plugin,
    wizard: wizard.data,
    parameters,
    platform: hub.data.hubInfo.platform,
  });
}

function Loading({ error, retry }: { error: unknown; retry: () => void }) {
  const { t } = useTranslation();
  if (error) return <ErrorAlert error={error} retry={retry} />;
  return <StatusIndicator type="loading">{t('common.loading')}</StatusIndicator>;
}
