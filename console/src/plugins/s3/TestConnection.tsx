import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import type { Side } from '../../api/generated';
import { useFormat } from '../../format';
import { TestConnection as Test, Verdict } from '../TestConnection';

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
  return (
    <Test side={side} needed={NEEDED[side]}>
      {(result) => <Result found={JSON.parse(result) as Found} />}
    </Test>
  );
}

const SHOWN = 8;

const keyOf = ({ key }: Found['sample'][number]) => <span className="dth-break">{key}</span>;

function Result({ found }: { found: Found }) {
  const { t } = useTranslation();
  const { bytes, when } = useFormat();
  return (
    <SpaceBetween size="m">
      <Verdict found={found} />
      <KeyValuePairs
        columns={3}
        items={[
          { label: t('s3.test.endpoint'), value: <span className="dth-break">{found.endpoint}</span> },
          { label: t('create.test.region'), value: found.region || '-' },
          {
            label: t('create.test.time'),
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
