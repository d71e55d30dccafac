import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import RadioGroup from '@cloudscape-design/components/radio-group';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTaskForm } from './context';
import { namesOf } from './form';
import { ParameterField } from './ParameterField';
import { useTexts } from './texts';
import type { Pick, Section, Step } from './types';

/** The fields of a step. */
export function Sections({ step }: { step: Step }) {
  const { reading } = useTaskForm();
  return (
    <SpaceBetween size="l">
      {step.sections
        .filter((section) => section.applies?.(reading) ?? true)
        .filter((section) => namesOf({ id: '', sections: [section] }).some(reading.shows) || hasPick(section))
        .map((section) => (
          <Fields key={section.id} section={section} />
        ))}
      {step.After && <step.After />}
    </SpaceBetween>
  );
}

const hasPick = (section: Section) => section.items.some((item) => typeof item !== 'string');

function Fields({ section }: { section: Section }) {
  const { kind, reading, problem } = useTaskForm();
  const texts = useTexts(kind);
  const [open, setOpen] = useState(false);
  const wrong = namesOf({ id: '', sections: [section] }).some(problem);
  const items = section.items
    .filter((item) => (typeof item === 'string' ? reading.shows(item) : (item.applies?.(reading) ?? true)))
    .map((item) =>
      typeof item === 'string' ? (
        <ParameterField key={item} name={item} />
      ) : (
        <PickField key={item.id} pick={item} />
      ),
    );
  const fields = section.paired ? (
    <ColumnLayout columns={2}>{items}</ColumnLayout>
  ) : (
    <SpaceBetween size="l">{items}</SpaceBetween>
  );
  const title = texts.section(section.id);
  if (section.folded)
    return (
      <ExpandableSection
        variant="container"
        headerText={title}
        headingTagOverride="h2"
        expanded={open || wrong}
        onChange={(event) => setOpen(event.detail.expanded)}
      >
        {fields}
      </ExpandableSection>
    );
  return <Container header={<Header variant="h2">{title}</Header>}>{fields}</Container>;
}

/** A choice between ways, and the fields of the one chosen. */
function PickField({ pick }: { pick: Pick }) {
  const state = useTaskForm();
  const texts = useTexts(state.kind);
  const picked = state.reading.picked(pick.id);
  const option = pick.options.find((each) => each.id === picked);
  return (
    <SpaceBetween size="m">
      <FormField label={texts.text(`picks.${pick.id}.label`)}>
        <RadioGroup
          value={picked}
          items={pick.options
            .filter((each) => each.applies?.(state.reading) ?? true)
            .map(({ id }) => ({
              value: id,
              label: texts.text(`picks.${pick.id}.${id}.label`),
              description: texts.text(`picks.${pick.id}.${id}.hint`),
            }))}
          onChange={(event) => state.pick(pick.id, event.detail.value)}
        />
      </FormField>
      {option?.parameters.map((name) => (
        <ParameterField key={name} name={name} />
      ))}
    </SpaceBetween>
  );
}
