import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useTranslation } from 'react-i18next';
import { ForecastDocument } from '../../api/generated';
import { useErrorText } from '../../components/errorText';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useTaskForm } from '../../plugins/context';
import { namesOf, taskInput } from '../../plugins/form';
import { useTexts } from '../../plugins/texts';
import { useJob } from '../../plugins/useJob';
import { Export } from './Export';
import { Preflight, type PreflightReport } from './Preflight';
import { Summary } from './Summary';

/** What the task will be, whether it can, what it takes; and the same as a file. */
export function Review({
  preflight,
  error,
  said,
  onStep,
}: {
  preflight: { run: () => void; running: boolean; error: unknown; report: PreflightReport | undefined };
  /** Why it could not be saved. */
  error: unknown;
  /** The parameters that the hub objects to. */
  said: readonly string[];
  onStep: (id: string) => void;
}) {
  const { t } = useTranslation();
  const textOf = useErrorText();
  const { kind } = useTaskForm();
  const texts = useTexts(kind);
  const step = kind.wizard.steps.find((each) => namesOf(each).some((name) => said.includes(name)));
  return (
    <SpaceBetween size="l">
      {Boolean(error) && (
        <Alert
          type="error"
          header={t('errors.title')}
          action={
            step && (
              <Button onClick={() => onStep(step.id)}>
                {t('create.goTo', { step: texts.text(`steps.${step.id}.title`) })}
              </Button>
            )
          }
        >
          <span className="dth-break">{textOf(error)}</span>
        </Alert>
      )}
      <Container
        header={
          <Header
            variant="h2"
            description={t('create.preflight.about')}
            actions={
              <Button loading={preflight.running} onClick={preflight.run}>
                {t('create.preflight.again')}
              </Button>
            }
          >
            {t('create.preflight.title')}
          </Header>
        }
      >
        <div aria-live="polite">
          {preflight.report && <Preflight report={preflight.report} />}
          {preflight.running && (
            <StatusIndicator type="loading">{t('create.preflight.running')}</StatusIndicator>
          )}
          <ErrorAlert error={preflight.error} />
        </div>
      </Container>
      <ForecastBox />
      <Summary onStep={onStep} />
      <Export />
    </SpaceBetween>
  );
}

function ForecastBox() {
  const { form, kind } = useTaskForm();
  const { Forecast } = kind.wizard;
  const texts = useTexts(kind);
  const job = useJob(ForecastDocument, { input: taskInput(form, kind) });
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={texts.text('forecast.about')}
          actions={
            <Button loading={job.running} onClick={job.run}>
              {texts.text('forecast.button')}
            </Button>
          }
        >
          {texts.text('forecast.title')}
        </Header>
      }
    >
      <div aria-live="polite">
        {job.running ? (
          <StatusIndicator type="loading">{texts.text('forecast.running')}</StatusIndicator>
        ) : job.result ? (
          <Forecast result={job.result} />
        ) : (
          !job.error && <Box color="text-body-secondary">{texts.text('forecast.none')}</Box>
        )}
        <ErrorAlert error={job.error} />
      </div>
    </Container>
  );
}
