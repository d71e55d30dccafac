import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import Form from '@cloudscape-design/components/form';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { useErrorText } from '../../components/errorText';
import { useFlash } from '../../app/flash';
import { FormContext, type FormState } from '../../plugins/context';
import { newForm, read } from '../../plugins/form';
import { ParameterField } from '../../plugins/ParameterField';
import { problems, saidOf } from '../../plugins/problems';
import { kindsOf, pluginOf } from '../../plugins/registry';
import { useTexts } from '../../plugins/texts';
import type { Kind, Problem, TaskForm } from '../../plugins/types';
import { useCreation, WithKind } from './CreateTask';
import { useDraft } from './useDraft';

const TYPE = kindsOf().find((type) => pluginOf(type).Stores) ?? '';

/** From, to, start: a task that runs once, on one page. */
export function QuickTask() {
  return <WithKind type={TYPE}>{(kind) => <QuickForm kind={kind} />}</WithKind>;
}

/** The draft is that of the wizard, which goes on with what is typed here. */
function QuickForm({ kind }: { kind: Kind }) {
  const { t } = useTranslation();
  const texts = useTexts(kind);
  const textOf = useErrorText();
  const navigate = useNavigate();
  const flash = useFlash();
  const create = useCreation();
  const { form, keep, forget } = useDraft(`new.${TYPE}`, newForm(TYPE, kind.wizard));
  const [told, setTold] = useState<ReadonlySet<string>>(new Set());
  const [said, setSaid] = useState<Record<string, Problem>>({}); // by the hub
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const page = useRef<HTMLDivElement>(null);

  const sections = kind.wizard.quick ?? [];
  const names = sections.flatMap((section) => [...section.items]);
  const known = read(form, kind);
  const reading = { ...known, needs: (name: string) => known.needs(name) || name.endsWith('Store') };
  const wrong = problems(reading, kind);
  const objected = Object.keys(said)[0];

  const change = (changes: (form: TaskForm) => Partial<TaskForm>) =>
    keep((draft) => ({ ...draft, form: { ...draft.form, ...changes(draft.form) } }));
  const focus = (name: string) =>
    requestAnimationFrame(() =>
      page.current
        ?.querySelector<HTMLElement>(`[data-parameter="${name}"] :is(input, textarea, button)`)
        ?.focus(),
    );
  function complete(wanted: readonly string[]): boolean {
    setTold((before) => new Set([...before, ...wanted]));
    const first = wanted.find((name) => wrong[name]);
    if (first) focus(first);
    return first === undefined;
  }

  const state: FormState = {
    kind,
    form,
    reading,
    isEdit: false,
    set(name, text) {
      change(({ values }) => ({ values: { ...values, [name]: text } }));
      state.touch(name);
      setSaid((before) => Object.fromEntries(Object.entries(before).filter(([each]) => each !== name)));
      setError(null);
    },
    pick: (id, chosen) => change(({ picks }) => ({ picks: { ...picks, [id]: chosen } })),
    touch: (name) => setTold((before) => (before.has(name) ? before : new Set([...before, name]))),
    problem: (name) => said[name] ?? (told.has(name) ? wrong[name] : undefined),
    complete,
  };

  async function start() {
    if (busy || !complete(names)) return;
    setBusy(true);
    setError(null);
    try {
      const id = await create(form, kind);
      forget();
      flash({ type: 'success', content: t('create.created') });
      await navigate(`/tasks/${id}`);
    } catch (problem) {
      setError(problem);
      setSaid(problem instanceof Error ? saidOf(problem.message, kind) : {});
    } finally {
      setBusy(false);
    }
  }

  return (
    <FormContext value={state}>
      <div ref={page}>
        <Form
          header={
            <Header variant="h1" description={t('create.quick.about')}>
              {t('nav.quick')}
            </Header>
          }
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button onClick={() => void navigate(`/tasks/create?type=${TYPE}`)}>
                {t('create.quick.all')}
              </Button>
              <Button variant="primary" loading={busy} onClick={() => void start()}>
                {t('create.quick.start')}
              </Button>
            </SpaceBetween>
          }
        >
          <SpaceBetween size="l">
            {Boolean(error) && (
              <Alert
                type="error"
                header={t('errors.title')}
                action={
                  objected && <Button onClick={() => focus(objected)}>{t('create.quick.goToField')}</Button>
                }
              >
                <span className="dth-break">{textOf(error)}</span>
              </Alert>
            )}
            <ColumnLayout columns={2}>
              {sections.map((section) => (
                <Container
                  key={section.id}
                  header={<Header variant="h2">{texts.section(section.id)}</Header>}
                >
                  <SpaceBetween size="l">
                    {section.items.map((name) => (
                      <ParameterField key={name} name={name} />
                    ))}
                  </SpaceBetween>
                </Container>
              ))}
            </ColumnLayout>
            <Box color="text-body-secondary">{t('create.quick.defaults')}</Box>
          </SpaceBetween>
        </Form>
      </div>
    </FormContext>
  );
}
