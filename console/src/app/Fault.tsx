import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { Component, useEffect, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';

const LOOK = 3_000; // milliseconds between looks whether the hub is there again
const RELOADED = 'dth.reloaded';
const ONCE_IN = 30_000; // milliseconds in which a page reloads itself once: a file may be missing for good

/** A part of the console that threw, or whose file did not come. What is typed in forms is kept through a reload. */
export function Fault({ error }: { error: unknown }) {
  const text = error instanceof Error ? error.message : String(error);
  return /dynamically imported module|importing a module/i.test(text) ? <Away /> : <Broken text={text} />;
}

/** Keeps a fault to the part that it is round. */
export class Bounded extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined as unknown };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    return this.state.error === undefined ? this.props.children : <Fault error={this.state.error} />;
  }
}

function Broken({ text }: { text: string }) {
  const { t } = useTranslation();
  return (
    <Alert type="error" header={t('errors.page')} action={<Reload />}>
      <SpaceBetween size="xs">
        <span>{t('errors.pageHint')}</span>
        <Box variant="code">{text}</Box>
      </SpaceBetween>
    </Alert>
  );
}

/** A file of the console did not come: the hub is away, or has another version by now. */
function Away() {
  const { t } = useTranslation();
  useEffect(() => {
    const timer = setInterval(() => {
      void fetch('/config.json', { cache: 'no-store' }).then(
        (answer) => answer.ok && mayReload() && location.reload(),
        () => undefined,
      );
    }, LOOK);
    return () => clearInterval(timer);
  }, []);
  return (
    <Alert type="warning" header={t('common.unavailable')} action={<Reload />}>
      {t('errors.away')}
    </Alert>
  );
}

function mayReload(): boolean {
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  if (Date.now() - last < ONCE_IN) return false;
  sessionStorage.setItem(RELOADED, String(Date.now()));
  return true;
}

function Reload() {
  const { t } = useTranslation();
  return <Button onClick={() => location.reload()}>{t('errors.reload')}</Button>;
}
