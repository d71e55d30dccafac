import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Toggle from '@cloudscape-design/components/toggle';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useTaskForm } from '../../plugins/context';
import { useKindTexts } from '../../plugins/registry';
import { useTexts } from '../../plugins/texts';
import type { Step } from '../../plugins/types';

/** What the form says, step by step: what is not the default, or all of it. */
export function Summary({ onStep }: { onStep: (id: string) => void }) {
  const { t } = useTranslation();
  const { form, kind } = useTaskForm();
  const texts = useTexts(kind);
  const { nameOf } = useKindTexts();
  const rows = useRows();
  const [all, setAll] = useState(false);
  return (
    <Container
      header={
        <Header
          variant="h2"
          actions={
            <Toggle checked={all} onChange={(event) => setAll(event.detail.checked)}>
              {t('create.summary.all')}
            </Toggle>
          }
        >
          {t('create.summary.title')}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <KeyValuePairs
          columns={3}
          items={[
            { label: t('create.kind.type'), value: nameOf(form.type) },
            {
              label: t('common.description'),
              value: <span className="dth-break">{form.description || '-'}</span>,
            },
            { label: t('create.summary.id'), value: <span className="dth-break">{form.id}</span> },
          ]}
        />
        {kind.wizard.steps.map((step) => {
          const title = texts.text(`steps.${step.id}.title`);
          const items = rows(step, all);
          return (
            <SpaceBetween key={step.id} size="s">
              <Header
                variant="h3"
                actions={
                  <Button ariaLabel={`${t('common.edit')}: ${title}`} onClick={() => onStep(step.id)}>
                    {t('common.edit')}
                  </Button>
                }
              >
                {title}
              </Header>
              {items.length > 0 ? (
                <KeyValuePairs columns={3} items={items} />
              ) : (
                <Box color="text-body-secondary">{t('create.summary.defaults')}</Box>
              )}
            </SpaceBetween>
          );
        })}
      </SpaceBetween>
    </Container>
  );
}

function useRows() {
  const { kind, reading } = useTaskForm();
  const texts = useTexts(kind);

  function row(name: string, all: boolean) {
    const parameter = reading.parameter(name);
    if (!parameter || !reading.shows(name) || !(all || reading.differs(name) || reading.needs(name)))
      return [];
    const value = texts.shown(parameter, reading.value(name)) || '-';
    return [{ label: texts.label(parameter), value: <span className="dth-break">{value}</span> }];
  }

  return (step: Step, all: boolean) =>
    step.sections
      .filter((section) => section.applies?.(reading) ?? true)
      .flatMap((section) => section.items)
      .flatMap((item) => {
        if (typeof item === 'string') return row(item, all);
        const picked = reading.picked(item.id);
        const option = item.options.find((each) => each.id === picked);
        return [
          {
            label: texts.text(`picks.${item.id}.label`),
            value: texts.text(`picks.${item.id}.${picked}.label`),
          },
          ...(option?.parameters ?? []).flatMap((name) => row(name, true)),
        ];
      });
}
