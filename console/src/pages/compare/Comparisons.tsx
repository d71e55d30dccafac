import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { useNavigate, useSearchParams } from 'react-router';
import { ComparisonsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { useSession } from '../../app/session';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { HubText } from '../../components/HubText';
import { PageLink } from '../../components/PageLink';
import { useFormat } from '../../format';
import { type Comparison, objectsIn, ResultOf, STATES } from './states';
import { useCompares } from './useCompares';

const MOST = 100; // comparisons that the hub keeps
const QUICK = 2_000; // milliseconds between looks while one runs
const SLOW = 30_000;

/** The comparisons of the hub, or of one task. */
export function Comparisons() {
  const { t } = useTranslation();
  const { number } = useFormat();
  const { may } = useSession();
  const navigate = useNavigate();
  const [params] = useSearchParams();
  const task = params.get('task');
  const compares = useCompares();
  const found = useData(
    ComparisonsDocument,
    { task, count: MOST },
    {
      enabled: compares !== false,
      refetchInterval: ({ state }) =>
        state.data?.listComparisons.some((each) => each.state === 'RUNNING') ? QUICK : SLOW,
    },
  );
  const columns = useColumns();
  if (compares === false) return <Empty heading title={t('nav.comparisons')} hint={t('compare.notHere')} />;
  const items = found.data?.listComparisons;
  const start = may('operator') && (
    <Button
      variant="primary"
      onClick={() => void navigate(`/comparisons/create${task ? `?task=${task}` : ''}`)}
    >
      {t('compare.start')}
    </Button>
  );
  return (
    <SpaceBetween size="m">
      <ErrorAlert error={found.error} retry={() => void found.refetch()} />
      <Table
        variant="full-page"
        items={items ?? []}
        trackBy="id"
        loading={found.isPending && !found.error}
        loadingText={t('common.loading')}
        wrapLines
        columnDefinitions={columns}
        ariaLabels={{ tableLabel: t('nav.comparisons') }}
        header={
          <Header
            variant="awsui-h1-sticky"
            counter={items ? `(${number(items.length)})` : ''}
            description={task ? t('compare.ofTask') : t('compare.about')}
            info={<InfoLink title={t('nav.comparisons')} body={<p>{t('compare.help')}</p>} />}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                {task && (
                  <Button onClick={() => void navigate(`/tasks/${task}`)}>{t('compare.toTask')}</Button>
                )}
                {start}
              </SpaceBetween>
            }
          >
            {t('nav.comparisons')}
          </Header>
        }
        empty={<Empty title={t('compare.none')} hint={t('compare.noneHint')} action={start} />}
      />
    </SpaceBetween>
  );
}

function useColumns(): TableProps.ColumnDefinition<Comparison>[] {
  const { t } = useTranslation();
  const { number, when } = useFormat();
  return [
    {
      id: 'way',
      header: t('compare.way'),
      minWidth: 240,
      isRowHeader: true,
      cell: (each) => (
        <PageLink to={`/comparisons/${each.id}`}>
          <span className="dth-break">
            {t('compare.fromTo', { source: each.source, destination: each.destination })}
          </span>
        </PageLink>
      ),
    },
    {
      id: 'result',
      header: t('compare.result'),
      minWidth: 190,
      cell: (each) => <ResultOf comparison={each} />,
    },
    {
      id: 'policy',
      header: t('compare.policy'),
      minWidth: 130,
      cell: (each) => t(`compare.policies.${each.policy as 'etag'}`),
    },
    {
      id: 'objects',
      header: t('compare.objects'),
      minWidth: 110,
      cell: (each) => number(objectsIn(each.counts, STATES)),
    },
    { id: 'started', header: t('compare.started'), minWidth: 150, cell: (each) => when(each.startedAt) },
    { id: 'by', header: t('compare.by'), minWidth: 100, cell: (each) => each.createdBy || '-' },
    {
      id: 'error',
      header: t('compare.reason'),
      minWidth: 180,
      cell: (each) => (each.error ? <HubText>{each.error}</HubText> : '-'),
    },
  ];
}
