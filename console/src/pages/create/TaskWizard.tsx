import Wizard, { type WizardProps } from '@cloudscape-design/components/wizard';
import { useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useBlocker, useNavigate } from 'react-router';
import { PreflightDocument } from '../../api/generated';
import { useFlash } from '../../app/flash';
import { Confirm } from '../../components/Confirm';
import { FormContext, type FormState } from '../../plugins/context';
import { namesOf, picksOf, read, taskInput } from '../../plugins/form';
import { problems, saidOf } from '../../plugins/problems';
import { Sections } from '../../plugins/Sections';
import { useTexts } from '../../plugins/texts';
import type { Kind, Problem, TaskForm } from '../../plugins/types';
import { useJob } from '../../plugins/useJob';
import { KindStep } from './KindStep';
import type { PreflightReport } from './Preflight';
import { Review } from './Review';
import { useDraft } from './useDraft';

const typed = (form: TaskForm) => JSON.stringify({ ...form, id: '' });

const without = <T,>(from: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> =>
  Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name)));

/** The steps from a kind of task to a task: what it is, its plugin's steps, and a review. */
export function TaskWizard(props: {
  kind: Kind;
  /** By which what is typed is kept. */
  draft: string;
  initial: TaskForm;
  isEdit?: boolean;
  /** Between which one may choose; the one that it is when there is none. */
  types?: readonly string[];
  onType?: (type: string) => void;
  /** Creates or changes the task; its id. */
  save: (form: TaskForm, initial: TaskForm) => Promise<string>;
  /** Where one goes who gives up. */
  back: string;
}) {
  const { kind, isEdit = false } = props;
  const { wizard } = kind;
  const { t } = useTranslation();
  const texts = useTexts(kind);
  const navigate = useNavigate();
  const flash = useFlash();
  const { form, initial, step, keep, forget } = useDraft(props.draft, props.initial);
  const [told, setTold] = useState<ReadonlySet<string>>(new Set());
  const [said, setSaid] = useState<Record<string, Problem>>({}); // by the hub
  const [saving, setSaving] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [asking, setAsking] = useState(false);
  const through = useRef(false);
  const page = useRef<HTMLDivElement>(null);

  const reading = read(form, kind);
  const wrong = problems(reading, kind);
  const last = wizard.steps.length + 1;
  const preflight = useJob(PreflightDocument, { input: taskInput(form, kind) }, step === last);
  const report = preflight.result ? (JSON.parse(preflight.result) as PreflightReport) : undefined;

  const blocker = useBlocker(
    ({ currentLocation, nextLocation }) =>
      !through.current &&
      typed(form) !== typed(initial) &&
      currentLocation.pathname !== nextLocation.pathname,
  );

  const go = (to: number) => keep((draft) => ({ ...draft, step: to }));
  const change = (changes: (form: TaskForm) => Partial<TaskForm>) =>
    keep((draft) => ({ ...draft, form: { ...draft.form, ...changes(draft.form) } }));

  /** Tells what is wrong with these, and puts the cursor there. */
  function complete(names: readonly string[]): boolean {
    setTold((before) => new Set([...before, ...names]));
    const first = names.find((name) => wrong[name]);
    if (first)
      requestAnimationFrame(() =>
        page.current
          ?.querySelector<HTMLElement>(`[data-parameter="${first}"] :is(input, textarea, button)`)
          ?.focus(),
      );
    return first === undefined;
  }

  /** Goes to a step, but no further than to the first one from here on (or `from`) where something is wrong. */
  function proceed(to: number, from = step): boolean {
    const stop = wizard.steps.findIndex(
      (each, place) => place + 1 >= from && place + 1 < to && !complete(namesOf(each)),
    );
    go(stop < 0 ? to : stop + 1);
    return stop < 0;
  }

  async function save() {
    setAsking(false);
    setSaving(true);
    setError(null);
    try {
      const id = await props.save(form, initial);
      through.current = true;
      forget();
      flash({ type: 'success', content: t(isEdit ? 'create.saved' : 'create.created') });
      await navigate(`/tasks/${id}`);
    } catch (problem) {
      setError(problem);
      setSaid(problem instanceof Error ? saidOf(problem.message, kind) : {});
    } finally {
      setSaving(false);
    }
  }

  const state: FormState = {
    kind,
    form,
    reading,
    isEdit,
    set(name, text) {
      change(({ values }) => ({ values: { ...values, [name]: text } }));
      state.touch(name);
      setSaid((before) => without(before, [name]));
      setError(null);
    },
    pick(id, chosen) {
      const options = picksOf(wizard).find((each) => each.id === id)?.options ?? [];
      change(({ values, picks }) => {
        const others = options.flatMap(({ sets = {} }) => Object.keys(sets));
        const sets = options.find((option) => option.id === chosen)?.sets;
        return { picks: { ...picks, [id]: chosen }, values: { ...without(values, others), ...sets } };
      });
    },
    touch: (name) => setTold((before) => (before.has(name) ? before : new Set([...before, name]))),
    problem: (name) => said[name] ?? (told.has(name) ? wrong[name] : undefined),
    complete,
  };

  const steps: WizardProps.Step[] = [
    {
      title: t('create.steps.kind.title'),
      description: t('create.steps.kind.about'),
      content: (
        <KindStep
          form={form}
          types={props.types ?? [form.type]}
          onType={props.onType}
          onDescription={(description) => change(() => ({ description }))}
        />
      ),
    },
    ...wizard.steps.map((each) => ({
      title: texts.text(`steps.${each.id}.title`),
      description: texts.text(`steps.${each.id}.about`),
      isOptional: isEdit || (each.optional ?? false),
      content: <Sections step={each} />,
    })),
    {
      title: t('create.steps.review.title'),
      description: t(isEdit ? 'create.steps.review.aboutEdit' : 'create.steps.review.about'),
      content: (
        <Review
          preflight={{ ...preflight, report }}
          error={error}
          said={Object.keys(said)}
          onStep={(id) => go(wizard.steps.findIndex((each) => each.id === id) + 1)}
        />
      ),
    },
  ];

  return (
    <FormContext value={state}>
      <div ref={page}>
        <Wizard
          steps={steps}
          activeStepIndex={step}
          allowSkipTo
          isLoadingNextStep={saving}
          submitButtonText={t(isEdit ? 'common.save' : 'create.submit')}
          onNavigate={({ detail }) => proceed(detail.requestedStepIndex)}
          onCancel={() => void navigate(props.back)}
          onSubmit={() => {
            if (saving || !proceed(last, 0)) return;
            if (report?.state === 'FAILED') setAsking(true);
            else void save();
          }}
        />
      </div>
      {asking && (
        <Confirm
          title={t('create.anyway.title')}
          action={t(isEdit ? 'create.anyway.save' : 'create.anyway.create')}
          onConfirm={() => void save()}
          onDismiss={() => setAsking(false)}
        >
          {t('create.anyway.hint', {
            count: report?.checks.filter((check) => check.state === 'FAILED').length ?? 0,
          })}
        </Confirm>
      )}
      {blocker.state === 'blocked' && (
        <Confirm
          title={t('create.leave.title')}
          action={t('create.leave.action')}
          onConfirm={() => {
            forget();
            blocker.proceed();
          }}
          onDismiss={() => blocker.reset()}
        >
          {t('create.leave.hint')}
        </Confirm>
      )}
    </FormContext>
  );
}
