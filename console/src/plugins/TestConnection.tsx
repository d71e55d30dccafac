import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { type Side, TestConnectionDocument } from '../api/generated';
import { ErrorAlert } from '../components/ErrorAlert';
import { useTaskForm } from './context';
import { taskInput } from './form';
import { useTexts } from './texts';
import { useJob } from './useJob';

/** Tries one side alone. `needed`: the parameters that the test cannot do without; `children` shows its result. */
export function TestConnection({
  side,
  needed,
  children,
}: {
  side: Side;
  needed: readonly string[];
  children: (result: string) => ReactNode;
}) {
  const { t } = useTranslation();
  const { form, kind, complete } = useTaskForm();
  const texts = useTexts(kind);
  const job = useJob(TestConnectionDocument, { input: taskInput(form, kind), side });
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={texts.text('test.about')}
          actions={
            <Button
              loading={job.running}
              loadingText={t('create.test.running')}
              onClick={() => complete(needed) && job.run()}
            >
              {t('create.test.button')}
            </Button>
          }
        >
          {t('create.test.title')}
        </Header>
      }
    >
      <div aria-live="polite">
        {job.error ? (
          <ErrorAlert error={job.error} />
        ) : job.result ? (
          children(job.result)
        ) : (
          <Box color="text-body-secondary">
            {job.running ? t('create.test.running') : t('create.test.none')}
          </Box>
        )}
      </div>
    </Container>
  );
}

/** What came of a test: in one sentence, with what to do about it and what was said to the hub. */
export function Verdict({
  found,
}: {
  found: { ok: boolean; message: string; advice: string; detail: string };
}) {
  return (
    <Alert type={found.ok ? 'success' : 'error'} header={<span className="dth-break">{found.message}</span>}>
      <SpaceBetween size="xxs">
        {Boolean(found.advice) && <span className="dth-break">{found.advice}</span>}
        {Boolean(found.detail) && (
          <Box variant="small">
            <span className="dth-break">{found.detail}</span>
          </Box>
        )}
      </SpaceBetween>
    </Alert>
  );
}
