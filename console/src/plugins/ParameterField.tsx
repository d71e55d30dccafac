import Checkbox from '@cloudscape-design/components/checkbox';
import Input from '@cloudscape-design/components/input';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Textarea from '@cloudscape-design/components/textarea';
import { useTranslation } from 'react-i18next';
import { useTaskForm } from './context';
import { ParameterFrame, ParameterHelp } from './ParameterFrame';
import { limits } from './problems';
import { useTexts } from './texts';

/** The field of a parameter: its plugin's own, or one by its kind. Nothing where it does not apply. */
export function ParameterField({ name }: { name: string }) {
  const { kind, reading } = useTaskForm();
  if (!reading.shows(name)) return null;
  const Own = kind.wizard.fields[name];
  if (Own) return <Own name={name} />;
  const Field = FIELDS[reading.parameter(name)?.kind ?? ''] ?? TextField;
  return <Field name={name} />;
}

/** The text of a field, what to do when it changes, and whether it may. */
export function useParameter(name: string) {
  const { kind, form, reading, isEdit, set, touch } = useTaskForm();
  return {
    parameter: reading.parameter(name)!,
    texts: useTexts(kind),
    text: form.values[name] ?? '',
    standard: reading.standard(name),
    example: kind.wizard.examples[name] ?? '',
    fixed: isEdit && kind.wizard.fixed.includes(name),
    set: (text: string) => set(name, text),
    touch: () => touch(name),
  };
}

function TextField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { parameter, texts, text, standard, example, fixed, set, touch } = useParameter(name);
  const { minimum, maximum } = limits(parameter);
  const range =
    minimum && maximum
      ? t('create.range.between', { minimum, maximum })
      : minimum && Number(parameter.minimum) > 0
        ? t('create.range.least', { minimum })
        : '';
  const hints = [
    texts.text(`units.${name}`),
    parameter.size && t('create.sizeHint'),
    range,
    fixed && t('create.fixed'),
  ];
  return (
    <ParameterFrame name={name} constraintText={hints.filter(Boolean).join(' ')}>
      <Input
        value={text}
        placeholder={standard ? texts.shown(parameter, standard) : example}
        readOnly={fixed}
        autoComplete={false}
        spellcheck={false}
        inputMode={parameter.kind === 'number' && !parameter.size ? 'decimal' : 'text'}
        onChange={(event) => set(event.detail.value)}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}

function ChoiceField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { parameter, texts, text, standard, fixed, set, touch } = useParameter(name);
  const options = [...(standard === '' ? [''] : []), ...parameter.allowed].map((value) => ({
    value,
    label: texts.choice(name, value) || value || t('create.unset'),
    description: texts.choice(name, value, 'hints'),
    ...(value === standard && value !== '' ? { labelTag: t('create.default') } : {}),
  }));
  const chosen = text || standard;
  return (
    <ParameterFrame name={name} constraintText={fixed && t('create.fixed')}>
      <Select
        options={options}
        selectedOption={options.find((each) => each.value === chosen) ?? { value: chosen, label: chosen }}
        disabled={fixed}
        onChange={(event) => set(event.detail.selectedOption.value ?? '')}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}

function CheckField({ name }: { name: string }) {
  const { parameter, texts, text, standard, fixed, set } = useParameter(name);
  return (
    <ParameterFrame name={name} bare>
      <SpaceBetween direction="horizontal" size="xs">
        <Checkbox
          checked={(text || standard) === 'true'}
          disabled={fixed}
          onChange={(event) => set(String(event.detail.checked))}
        >
          {texts.label(parameter)}
        </Checkbox>
        <ParameterHelp parameter={parameter} />
      </SpaceBetween>
    </ParameterFrame>
  );
}

function ListField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { text, example, set, touch } = useParameter(name);
  return (
    <ParameterFrame name={name} constraintText={t('create.listHint')}>
      <Textarea
        value={text}
        placeholder={example}
        rows={3}
        autoComplete={false}
        spellcheck={false}
        onChange={(event) => set(event.detail.value)}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}

const FIELDS: Record<string, typeof TextField> = {
  choice: ChoiceField,
  boolean: CheckField,
  list: ListField,
};
