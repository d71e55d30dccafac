import FormField, { type FormFieldProps } from '@cloudscape-design/components/form-field';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { InfoLink } from '../app/help';
import { useTaskForm } from './context';
import { limits } from './problems';
import { useTexts } from './texts';
import type { Parameter } from './types';

/** A parameter's label, help and what is wrong with it, round the control that it is typed into. */
export function ParameterFrame({
  name,
  children,
  bare = false,
  ...more
}: {
  name: string;
  children: ReactNode;
  /** The control has the label itself. */
  bare?: boolean;
} & Pick<FormFieldProps, 'constraintText' | 'description' | 'secondaryControl'>) {
  const { t } = useTranslation();
  const { kind, reading, problem } = useTaskForm();
  const texts = useTexts(kind);
  const parameter = reading.parameter(name);
  if (!parameter) return null;
  const optional = !reading.needs(name) && reading.standard(name) === '' && parameter.kind !== 'choice';
  const label = (
    <>
      {texts.label(parameter)}
      {optional && <i>{` - ${t('common.optional')}`}</i>}
    </>
  );
  return (
    <div data-parameter={name}>
      <FormField
        {...(bare ? {} : { label, info: <ParameterHelp parameter={parameter} /> })}
        errorText={texts.problem(problem(name))}
        // With a control beside it, the field leaves room for that.
        stretch={!more.secondaryControl}
        {...more}
      >
        {children}
      </FormField>
    </div>
  );
}

/** The link to all that is known of a parameter. */
export function ParameterHelp({ parameter }: { parameter: Parameter }) {
  const { t } = useTranslation();
  const { kind, reading } = useTaskForm();
  const texts = useTexts(kind);
  const { minimum, maximum } = limits(parameter);
  const facts = [
    [t('create.help.standard'), texts.shown(parameter, reading.standard(parameter.name))],
    [t('create.help.least'), minimum],
    [t('create.help.most'), maximum],
    [t('create.help.name'), <code key="name">{parameter.name}</code>],
    [texts.text('help.option'), parameter.option && <code key="option">{parameter.option}</code>],
  ].filter(([, value]) => value);
  return (
    <InfoLink
      title={texts.label(parameter)}
      body={
        <>
          <p>{texts.help(parameter)}</p>
          <dl>
            {facts.map(([fact, value]) => (
              <div key={String(fact)}>
                <dt>{fact}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
        </>
      }
    />
  );
}
