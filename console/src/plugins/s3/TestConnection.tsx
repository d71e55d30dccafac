import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { type Side, TestConnectionDocument } from '../../api/generated';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { useTaskForm } from '../context';
import { taskInput } from '../form';
import { useJob } from '../useJob';

/** What `probe.py` found out. */
interface Found {
  ok: boolean;
  message: string;
  advice: string;
  detail: string;
  endpoint: string;
  region: string;
  milliseconds: number;
  sample: { key: string; size: number; modified: string }[];
}

// What the test cannot do without.
const NEEDED: Record<Side, readonly string[]> = {
  SOURCE: ['srcBucket', 'srcEndpoint', 'srcRegion', 'srcCredentials', 'srcProfile'],
  DESTINATION: ['destBucket', 'destEndpoint', 'destRegion', 'destCredentials', 'destProfile'],
};

export const TestSource = () => <TestConnection side="SOURCE" />;
export const TestDestination = () => <TestConnection side="DESTINATION" />;

function TestConnection({ side }: { side: Side }) {
  const { t } = useTranslation();
  const { form, kind, complete } = useTaskForm();
  const job = useJob(TestConnectionDocument, { input: taskInput(form, kind), side });
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={t('s3.test.about')}
          actions={
            <Button
              loading={job.running}
              loadingText={t('s3.test.running')}
              onClick={() => complete(NEEDED[side]) && job.run()}
            >
              {t('s3.test.button')}
            </Button>
          }
        >
          {t('s3.test.title')}
        </Header>
      }
    >
      <div aria-live="polite">
        {job.error ? (
          <ErrorAlert error={job.error} />
        ) : job.result ? (
          <Result found={JSON.parse(job.result) as Found} />
        ) : (
          <Box color="text-body-secondary">{job.running ? t('s3.test.running') : t('s3.test.none')}</Box>
        )}
      </div>
    </Container>
  );
}

const SHOWN = 8;

const keyOf = ({ key }: Found['sample'][number]) => <span className="dth-break">{key}</span>;

function Result({ found }: { found: Found }) {
  const { t } = useTranslation();
  const { bytes, when } = useFormat();
  return (
    <SpaceBetween size="m">
      <Alert
        type={found.ok ? 'success' : 'error'}
        header={<span className="dth-break">{found.message}</span>}
      >
        <SpaceBetween size="xxs">
          {found.advice && <span className="dth-break">{found.advice}</span>}
          {found.detail && (
            <Box variant="small">
              <span className="dth-break">{found.detail}</span>
            </Box>
          )}
        </SpaceBetween>
      </Alert>
      <KeyValuePairs
        columns={3}
        items={[
          { label: t('s3.test.endpoint'), value: <span className="dth-break">{found.endpoint}</span> },
          { label: t('s3.test.region'), value: found.region || '-' },
          {
            label: t('s3.test.time'),
            value: t('format.milliseconds', { count: found.milliseconds }),
          },
        ]}
      />
      {found.sample.length > 0 && (
        <Table
          variant="embedded"
          contentDensity="compact"
          wrapLines
          items={found.sample.slice(0, SHOWN)}
          trackBy="key"
          header={<Header variant="h3">{t('s3.test.sample')}</Header>}
          ariaLabels={{ tableLabel: t('s3.test.sample') }}
          columnDefinitions={[
            {
              id: 'key',
              header: t('s3.test.key'),
              cell: keyOf,
              isRowHeader: true,
            },
            { id: 'size', header: t('s3.test.size'), cell: (each) => bytes(each.size) },
            { id: 'modified', header: t('s3.test.modified'), cell: (each) => when(each.modified) },
          ]}
        />
      )}
    </SpaceBetween>
  );
}
