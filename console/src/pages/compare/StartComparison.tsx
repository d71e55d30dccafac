import Button from '@cloudscape-design/components/button';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import Form from '@cloudscape-design/components/form';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import RadioGroup from '@cloudscape-design/components/radio-group';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate, useSearchParams } from 'react-router';
import {
  CompareDocument,
  type CompareMutationVariables,
  ComparisonsDocument,
  ComparisonTaskDocument,
} from '../../api/generated';
import { useChange, useData } from '../../api/hooks';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { PageLink } from '../../components/PageLink';
import { FormContext, type FormState } from '../../plugins/context';
import { newForm, read, taskInput } from '../../plugins/form';
import { ParameterField } from '../../plugins/ParameterField';
import { problems, saidOf } from '../../plugins/problems';
import { kindsOf, pluginOf } from '../../plugins/registry';
import { useTexts } from '../../plugins/texts';
import type { Kind, Problem, TaskForm } from '../../plugins/types';
import { WithKind } from '../create/CreateTask';
import { useCompares } from './useCompares';

const TYPE = kindsOf().find((type) => pluginOf(type).compares) ?? '';
const POLICIES = ['size', 'size+time', 'etag', 'checksum', 'content'] as const;
const AS_TASK = ''; // as the task compares
const WHOLE = '100';

/** Begins a comparison: of the sides of a task (`?task=ID`), or of two that are named here. */
export function StartComparison() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const task = params.get('task');
  if (useCompares() === false)
    return <Empty heading title={t('nav.comparisons')} hint={t('compare.notHere')} />;
  if (task) return <OfTask id={task} />;
  return <WithKind type={TYPE}>{(kind) => <OfSides kind={kind} />}</WithKind>;
}

function OfTask({ id }: { id: string }) {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(ComparisonTaskDocument, { id });
  const task = data?.getTask;
  return (
    <HowToCompare about={t('compare.aboutTask')} ofTask ask={() => ({ task: id })}>
      <ErrorAlert error={error} retry={() => void refetch()} />
      <Container header={<Header variant="h2">{t('compare.sides')}</Header>}>
        <KeyValuePairs
          columns={3}
          items={[
            {
              label: t('compare.task'),
              value: <PageLink to={`/tasks/${id}`}>{task?.description || id}</PageLink>,
            },
            {
              label: t('compare.source'),
              value: <span className="dth-break">{task?.source ?? '-'}</span>,
            },
            {
              label: t('compare.destination'),
              value: <span className="dth-break">{task?.destination ?? '-'}</span>,
            },
          ]}
        />
      </Container>
    </HowToCompare>
  );
}

function OfSides({ kind }: { kind: Kind }) {
  const { t } = useTranslation();
  const texts = useTexts(kind);
  const [form, setForm] = useState<TaskForm>(() => {
    const empty = newForm(TYPE, kind.wizard);
    return { ...empty, values: { ...empty.values, ...kind.plugin.compares } };
  });
  const [told, setTold] = useState<ReadonlySet<string>>(new Set());
  const [said, setSaid] = useState<Record<string, Problem>>({}); // by the hub

  const sections = kind.wizard.quick ?? [];
  const names = sections.flatMap((section) => [...section.items]);
  const known = read(form, kind);
  const reading = { ...known, needs: (name: string) => known.needs(name) || name.endsWith('Store') };
  const wrong = problems(reading, kind);

  const state: FormState = {
    kind,
    form,
    reading,
    isEdit: false,
    set(name, text) {
      setForm((before) => ({ ...before, values: { ...before.values, [name]: text } }));
      setSaid((before) => Object.fromEntries(Object.entries(before).filter(([each]) => each !== name)));
    },
    pick: (id, chosen) => setForm((before) => ({ ...before, picks: { ...before.picks, [id]: chosen } })),
    touch: (name) => setTold((before) => new Set([...before, name])),
    problem: (name) => said[name] ?? (told.has(name) ? wrong[name] : undefined),
    complete(wanted) {
      setTold((before) => new Set([...before, ...wanted]));
      return !wanted.some((name) => wrong[name]);
    },
  };
  return (
    <FormContext value={state}>
      <HowToCompare
        about={t('compare.aboutSides')}
        ask={() => (state.complete(names) ? { input: taskInput(form, kind) } : null)}
        onRefused={(message) => setSaid(saidOf(message, kind))}
      >
        <ColumnLayout columns={2}>
          {sections.map((section) => (
            <Container key={section.id} header={<Header variant="h2">{texts.section(section.id)}</Header>}>
              <SpaceBetween size="l">
                {section.items.map((name) => (
                  <ParameterField key={name} name={name} />
                ))}
              </SpaceBetween>
            </Container>
          ))}
        </ColumnLayout>
      </HowToCompare>
    </FormContext>
  );
}

/** How closely is looked, and the button that begins it. `ask`: what to compare; null where that is not complete. */
function HowToCompare({
  about,
  ofTask = false,
  ask,
  onRefused,
  children,
}: {
  about: string;
  ofTask?: boolean;
  ask: () => Pick<CompareMutationVariables, 'task' | 'input'> | null;
  onRefused?: (message: string) => void;
  children: ReactNode;
}) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const compare = useChange(CompareDocument, [ComparisonsDocument]);
  const [policy, setPolicy] = useState<string>(ofTask ? AS_TASK : 'etag');
  const [sample, setSample] = useState(WHOLE);
  const share = Number(sample);
  const wrong = policy === 'content' && !(share > 0 && share <= 100);

  async function start() {
    const asked = ask();
    if (!asked || wrong || compare.isPending) return;
    try {
      const { compare: made } = await compare.mutateAsync({
        task: asked.task ?? null,
        input: asked.input ?? null,
        policy: policy || null,
        sample: policy === 'content' && share < 100 ? share : null,
      });
      await navigate(`/comparisons/${made.id}`);
    } catch (error) {
      if (error instanceof Error) onRefused?.(error.message);
    }
  }

  return (
    <Form
      header={
        <Header variant="h1" description={about}>
          {t('nav.compare')}
        </Header>
      }
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          <Button variant="link" onClick={() => void navigate(-1)}>
            {t('common.cancel')}
          </Button>
          <Button variant="primary" loading={compare.isPending} onClick={() => void start()}>
            {t('compare.begin')}
          </Button>
        </SpaceBetween>
      }
    >
      <SpaceBetween size="l">
        <ErrorAlert error={compare.error} />
        {children}
        <Container header={<Header variant="h2">{t('compare.how')}</Header>}>
          <SpaceBetween size="l">
            <FormField label={t('compare.policy')}>
              <RadioGroup
                value={policy}
                onChange={({ detail }) => setPolicy(detail.value)}
                items={(ofTask ? [AS_TASK, ...POLICIES] : POLICIES).map((each) => ({
                  value: each,
                  label: t(`compare.policies.${(each || 'task') as 'etag'}`),
                  description: t(`compare.policyAbout.${(each || 'task') as 'etag'}`),
                }))}
              />
            </FormField>
            {policy === 'content' && (
              <FormField
                label={t('compare.sample')}
                description={t('compare.sampleAbout')}
                errorText={wrong && t('compare.sampleWrong')}
              >
                <Input
                  value={sample}
                  inputMode="decimal"
                  onChange={({ detail }) => setSample(detail.value)}
                />
              </FormField>
            )}
          </SpaceBetween>
        </Container>
      </SpaceBetween>
    </Form>
  );
}
