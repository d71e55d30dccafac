import Box from '@cloudscape-design/components/box';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useTranslation } from 'react-i18next';
import { TestConnection, Verdict } from '../TestConnection';

/** What `probe.py` found out. */
interface Found {
  ok: boolean;
  message: string;
  advice: string;
  detail: string;
  registry: string;
  region: string;
  milliseconds: number;
  /** The first repositories, or the named images that are there. */
  sample: string[];
  more: boolean;
}

const SOURCE = ['srcRegistry', 'srcRegion', 'srcAccountId', 'srcCredential', 'srcProfile', 'srcImageList'];
const DESTINATION = ['destRegistry', 'destRegion', 'destAccountId', 'destCredential', 'destProfile'];

export const TestSource = () => (
  <TestConnection side="SOURCE" needed={SOURCE}>
    {(result) => <Result found={JSON.parse(result) as Found} />}
  </TestConnection>
);
export const TestDestination = () => (
  <TestConnection side="DESTINATION" needed={DESTINATION}>
    {(result) => <Result found={JSON.parse(result) as Found} />}
  </TestConnection>
);

function Result({ found }: { found: Found }) {
  const { t } = useTranslation();
  return (
    <SpaceBetween size="m">
      <Verdict found={found} />
      <KeyValuePairs
        columns={3}
        items={[
          {
            label: t('ecr.test.registry'),
            value: <span className="dth-break">{found.registry || '-'}</span>,
          },
          { label: t('create.test.region'), value: found.region || '-' },
          { label: t('create.test.time'), value: t('format.milliseconds', { count: found.milliseconds }) },
        ]}
      />
      {found.sample.length > 0 && (
        <div>
          <Box variant="h3">{t('ecr.test.sample')}</Box>
          <ul>
            {found.sample.map((name) => (
              <li key={name} className="dth-break">
                {name}
              </li>
            ))}
            {found.more && <li>{t('ecr.test.more')}</li>}
          </ul>
        </div>
      )}
    </SpaceBetween>
  );
}
