import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import TextFilter from '@cloudscape-design/components/text-filter';
import Toggle from '@cloudscape-design/components/toggle';
import {
  colorTextBodySecondary,
  colorTextStatusError,
  colorTextStatusWarning,
} from '@cloudscape-design/design-tokens';
import { memo, useLayoutEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useApi } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useErrorText } from '../../components/errorText';
import { useFormat } from '../../format';
import { type Level, parseLine } from './logLine';
import { saveFile } from '../../components/saveFile';
import { SpanForm } from '../../components/SpanForm';
import { useShown, useTabPath } from './tab';
import { TabLink } from './TabLink';
import { printable } from '../../components/visible';
import { type LogEvent, MOST, useLog, type Wanted, wholeLog } from './useLog';

const TAIL = 2_000; // milliseconds between looks for newer events

/** The events of one stream, as the address says which. */
export function LogViewer({ group, stream }: { group: string; stream: string }) {
  const { t } = useTranslation();
  const path = useTabPath();
  const [shown, change] = useShown();
  const [tails, setTails] = useState(false);
  const given = (name: string) => shown.get(name) || null;
  const wanted: Wanted = {
    logGroupName: group,
    logStreamName: stream,
    search: given('search'),
    startTime: given('from'),
    endTime: given('to'),
  };
  return (
    <SpaceBetween size="m">
      <TabLink to={path('logs')}>{t('detail.logs.back')}</TabLink>
      <Search shown={shown} onChange={change} />
      <Events key={JSON.stringify(wanted)} wanted={wanted} tails={tails} onTails={setTails} />
    </SpaceBetween>
  );
}

function Events({
  wanted,
  tails,
  onTails,
}: {
  wanted: Wanted;
  tails: boolean;
  onTails: (on: boolean) => void;
}) {
  const { t } = useTranslation();
  const log = useLog(wanted, tails ? TAIL : null);
  const stream = wanted.logStreamName ?? '';
  const waits = log.busy && !tails; // a button that spins every two seconds would only disturb
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('detail.logs.loaded', { count: log.events.length })}
          actions={
            <SpaceBetween direction="horizontal" size="xs" alignItems="center">
              <Toggle checked={tails} onChange={({ detail }) => onTails(detail.checked)}>
                {t('detail.logs.tail')}
              </Toggle>
              <Button
                iconName="refresh"
                ariaLabel={t('common.refresh')}
                loading={waits}
                onClick={() => void log.load()}
              />
              <Download stream={stream} events={log.events} wanted={wanted} />
            </SpaceBetween>
          }
        >
          <span className="dth-break">{stream}</span>
        </Header>
      }
    >
      <SpaceBetween size="s">
        <ErrorAlert error={log.error} retry={() => void log.load()} />
        {log.cut ? (
          <Alert>{t('detail.logs.cut')}</Alert>
        ) : log.atBeginning ? (
          <Box color="text-body-secondary">{t('detail.logs.oldest')}</Box>
        ) : (
          <Button disabled={!log.loaded} loading={waits} onClick={() => void log.older()}>
            {t('detail.logs.older')}
          </Button>
        )}
        <Lines label={t('detail.logs.lines', { stream })} log={log} tails={tails} />
        {!tails && (
          <Button disabled={!log.loaded} loading={waits} onClick={() => void log.newer()}>
            {t('detail.logs.newer')}
          </Button>
        )}
      </SpaceBetween>
    </Container>
  );
}

function Search({
  shown,
  onChange,
}: {
  shown: URLSearchParams;
  onChange: (changes: Record<string, string>) => void;
}) {
  const { t } = useTranslation();
  const [text, setText] = useState(shown.get('search') ?? '');
  const [from, to] = [Number(shown.get('from')), Number(shown.get('to'))];
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <TextFilter
        filteringText={text}
        filteringAriaLabel={t('detail.logs.search')}
        filteringPlaceholder={t('detail.logs.search')}
        onChange={({ detail }) => setText(detail.filteringText)}
        onDelayedChange={({ detail }) => onChange({ search: detail.filteringText })}
      />
      <SpanForm
        label={t('detail.logs.anyTime')}
        span={from > 0 && to > 0 ? { from: from / 1000, to: to / 1000 } : null}
        onChange={(span) => onChange({ from: String(span.from * 1000), to: String(span.to * 1000) })}
        onClear={() => onChange({ from: '', to: '' })}
      />
    </SpaceBetween>
  );
}

function Lines({
  label,
  log: { events, loaded },
  tails,
}: {
  label: string;
  log: { events: LogEvent[]; loaded: boolean };
  tails: boolean;
}) {
  const { t } = useTranslation();
  const box = useRef<HTMLDivElement>(null);
  const newest = events.at(-1)?.id;
  useLayoutEffect(() => {
    if (newest !== undefined && box.current && tails) box.current.scrollTop = box.current.scrollHeight;
  }, [newest, tails]);
  if (!events.length)
    return loaded ? <Empty title={t('detail.logs.empty')} hint={t('detail.logs.emptyHint')} /> : null;
  return (
    // It scrolls, so that a keyboard must reach it.
    <div
      ref={box}
      className="dth-code"
      style={{ maxHeight: '60vh' }}
      role="log"
      aria-live={tails ? 'polite' : 'off'}
      aria-label={label}
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
      tabIndex={0}
    >
      {events.map((event) => (
        <Line key={event.id} event={event} />
      ))}
    </div>
  );
}

const COLOR: Partial<Record<Level, string>> = {
  debug: colorTextBodySecondary,
  warning: colorTextStatusWarning,
  error: colorTextStatusError,
};

const Line = memo(function Line({ event }: { event: LogEvent }) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const { level, text, fields } = parseLine(event.message);
  return (
    <div>
      <span style={{ color: colorTextBodySecondary }}>{when(event.at)}</span>{' '}
      {level && <strong style={{ color: COLOR[level] }}>{t(`detail.logs.levels.${level}`)} </strong>}
      {printable(text)}
      {fields.map(([name, value]) => (
        <span key={name}>
          {' '}
          <span style={{ color: colorTextBodySecondary }}>{name}=</span>
          {printable(value)}
        </span>
      ))}
    </div>
  );
});

function Download({ stream, events, wanted }: { stream: string; events: LogEvent[]; wanted: Wanted }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const api = useApi();
  const flash = useFlash();
  const textOf = useErrorText();
  const [busy, setBusy] = useState(false);

  async function download(all: boolean) {
    setBusy(true);
    try {
      const { events: found, cut } = all ? await wholeLog(api, wanted) : { events, cut: false };
      const lines = found.map(({ at, message }) => `${new Date(at).toISOString()} ${message}\n`);
      saveFile(`${stream}.log`, lines.join(''), 'text/plain');
      if (cut) flash({ type: 'warning', content: t('detail.logs.downloadCut', { shown: number(MOST) }) });
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
    setBusy(false);
  }

  return (
    <ButtonDropdown
      loading={busy}
      items={[
        { id: 'loaded', text: t('detail.logs.downloadLoaded'), disabled: !events.length },
        { id: 'all', text: t('detail.logs.downloadAll') },
      ]}
      onItemClick={({ detail }) => void download(detail.id === 'all')}
    >
      {t('common.download')}
    </ButtonDropdown>
  );
}
