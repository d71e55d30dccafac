import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useFormat } from '../format';

/** A stretch of time, in epoch seconds. */
export interface Span {
  from: number;
  to: number;
}

/**
 * A stretch of time of the user's own, in the user's zone: a button that says it, and opens the form for it. The browser's
 * own inputs: the design system's picker would be a twentieth of all the console's JavaScript.
 */
export function SpanForm(props: {
  label: string;
  span: Span | null;
  onChange: (span: Span) => void;
  onClear?: () => void;
}) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const { label, span, onClear } = props;
  const [open, setOpen] = useState(false);
  return (
    <SpaceBetween size="s">
      <Button iconName="calendar" ariaExpanded={open} onClick={() => setOpen(!open)}>
        {span ? `${when(span.from * 1000)} - ${when(span.to * 1000)}` : label}
      </Button>
      {open && (
        <Form
          initial={span}
          onDone={(span) => {
            setOpen(false);
            props.onChange(span);
          }}
        >
          {onClear && span && (
            <Button
              onClick={() => {
                setOpen(false);
                onClear();
              }}
            >
              {t('detail.span.clear')}
            </Button>
          )}
        </Form>
      )}
    </SpaceBetween>
  );
}

function Form(props: { initial: Span | null; onDone: (span: Span) => void; children: ReactNode }) {
  const { t } = useTranslation();
  const [from, setFrom] = useState(() => (props.initial ? written(props.initial.from) : ''));
  const [to, setTo] = useState(() => (props.initial ? written(props.initial.to) : ''));
  const [told, setTold] = useState(false);
  const span = { from: Date.parse(from) / 1000, to: Date.parse(to) / 1000 };
  const error =
    Number.isNaN(span.from) || Number.isNaN(span.to)
      ? t('detail.span.chooseBoth')
      : span.to <= span.from
        ? t('detail.span.endFirst')
        : '';
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setTold(true);
        if (!error) props.onDone(span);
      }}
    >
      <SpaceBetween direction="horizontal" size="s" alignItems="end">
        <Moment label={t('detail.span.from')} value={from} onChange={setFrom} />
        <Moment label={t('detail.span.to')} value={to} onChange={setTo} error={told ? error : ''} />
        <Button formAction="submit">{t('detail.span.apply')}</Button>
        {props.children}
      </SpaceBetween>
    </form>
  );
}

function Moment(props: { label: string; value: string; onChange: (value: string) => void; error?: string }) {
  return (
    <FormField label={props.label} errorText={props.error ?? ''}>
      <Input
        value={props.value}
        onChange={({ detail }) => props.onChange(detail.value)}
        nativeInputAttributes={{ type: 'datetime-local', step: 1 }}
      />
    </FormField>
  );
}

/** Epoch seconds as such an input has them: local time, without its zone. */
function written(seconds: number): string {
  const offset = new Date(seconds * 1000).getTimezoneOffset() * 60;
  return new Date((seconds - offset) * 1000).toISOString().slice(0, 19);
}
