import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Toggle from '@cloudscape-design/components/toggle';
import { memo, useLayoutEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { colorTextBodySecondary, colorTextStatusError, colorTextStatusWarning } from '../../app/colors';
import { useApi } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useErrorText } from '../../components/errorText';
import { useFormat } from '../../format';
import { type Level, parseLine } from './logLine';
import { saveFile } from '../../components/saveFile';
import { printable } from '../../components/visible';
import { type LogEvent, MOST, useLog, type Wanted, wholeLog } from './useLog';

const TAIL = 2_000; // milliseconds between looks for newer events

/** The events that are wanted. For others, mount it again. `name`: of the file to download. */
export function LogViewer({ wanted, name }: { wanted: Wanted; name: string }) {
  const { t } = useTranslation();
  const [tails, setTails] = useState(false);
  const log = useLog(wanted, tails ? TAIL : null);
  const waits = log.busy && !tails; // a button that spins every two seconds would only disturb
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('detail.logs.loaded', { count: log.events.length })}
          actions={
            <SpaceBetween direction="horizontal" size="xs" alignItems="center">
              <Toggle checked={tails} onChange={({ detail }) => setTails(detail.checked)}>
                {t('detail.logs.tail')}
              </Toggle>
              <Button
                iconName="refresh"
                ariaLabel={t('common.refresh')}
                loading={waits}
                onClick={() => void log.load()}
              />
              <Download name={name} events={log.events} wanted={wanted} />
            </SpaceBetween>
          }
        >
          {t('detail.logs.title')}
        </Header>
      }
    >
      <SpaceBetween size="s">
        <ErrorAlert error={log.error} retry={() => void log.load()} />
        {log.cut ? (
          <Alert>{t('detail.logs.cut')}</Alert>
        ) : log.atBeginning || log.onlyForward ? (
          <Box color="text-body-secondary">
            {log.atBeginning ? t('detail.logs.oldest') : t('detail.logs.onlyForward')}
          </Box>
        ) : (
          <Button disabled={!log.loaded} loading={waits} onClick={() => void log.older()}>
            {t('detail.logs.older')}
          </Button>
        )}
        <Lines log={log} tails={tails} named={wanted.logStreamName === null} />
        {!tails && (
          <Button disabled={!log.loaded} loading={waits} onClick={() => void log.newer()}>
            {t('detail.logs.newer')}
          </Button>
        )}
      </SpaceBetween>
    </Container>
  );
}

function Lines({
  log: { events, loaded },
  tails,
  named,
}: {
  log: { events: LogEvent[]; loaded: boolean };
  tails: boolean;
  /** Whether each line says which process wrote it. */
  named: boolean;
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
      aria-label={t('detail.logs.lines')}
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
      tabIndex={0}
    >
      {events.map((event) => (
        <Line key={event.id} event={event} named={named} />
      ))}
    </div>
  );
}

const COLOR: Partial<Record<Level, string>> = {
  debug: colorTextBodySecondary,
  warning: colorTextStatusWarning,
  error: colorTextStatusError,
};

const Line = memo(function Line({ event, named }: { event: LogEvent; named: boolean }) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const { level, text, fields } = parseLine(event.message);
  return (
    <div>
      <span style={{ color: colorTextBodySecondary }}>{when(event.at)}</span>{' '}
      {named && <span style={{ color: colorTextBodySecondary }}>{event.stream} </span>}
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

function Download({ name, events, wanted }: { name: string; events: LogEvent[]; wanted: Wanted }) {
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
      const lines = found.map(
        ({ at, stream, message }) => `${new Date(at).toISOString()} ${stream} ${message}\n`,
      );
      saveFile(`${name.replaceAll(/[^\w.-]/g, '_')}.log`, lines.join(''), 'text/plain');
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
