import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import LiveRegion from '@cloudscape-design/components/live-region';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate, useParams } from 'react-router';
import {
  CancelComparisonDocument,
  ComparisonCertificateDocument,
  ComparisonDetailDocument,
  ComparisonsDocument,
  DeleteComparisonDocument,
} from '../../api/generated';
import { useApi, useChange, useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { useSession } from '../../app/session';
import { Waiting } from '../../app/Waiting';
import { Confirm } from '../../components/Confirm';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useErrorText } from '../../components/errorText';
import { HubText } from '../../components/HubText';
import { PageLink } from '../../components/PageLink';
import { pretty, saveFile } from '../../components/saveFile';
import { useFormat } from '../../format';
import { Findings } from './Findings';
import { Folders } from './Folders';
import { type Comparison, objectsIn, StateOf, STATES, VERDICT } from './states';

const QUICK = 1_000; // milliseconds between looks while it runs

/** One comparison: what it says, where the differences are, and what can be done about them. */
export function ComparisonDetail() {
  const { comparison: id = '' } = useParams();
  return <Detail key={id} id={id} />;
}

function Detail({ id }: { id: string }) {
  const { data, error, refetch } = useData(
    ComparisonDetailDocument,
    { id },
    { refetchInterval: ({ state }) => (state.data?.getComparison.state === 'RUNNING' ? QUICK : false) },
  );
  const comparison = data?.getComparison;
  return (
    <SpaceBetween size="l">
      <ErrorAlert error={error} retry={() => void refetch()} />
      {comparison ? <Parts comparison={comparison} /> : !error && <Waiting />}
    </SpaceBetween>
  );
}

function Parts({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const { state } = comparison;
  return (
    <SpaceBetween size="l">
      <Title comparison={comparison} />
      <Verdict comparison={comparison} />
      <Facts comparison={comparison} />
      <ByState comparison={comparison} />
      {state === 'DONE' && <Folders id={comparison.id} />}
      {state !== 'RUNNING' && <Findings comparison={comparison} />}
      <LiveRegion hidden>{t(`compare.ended.${state as 'RUNNING'}`)}</LiveRegion>
    </SpaceBetween>
  );
}

function Title({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const api = useApi();
  const flash = useFlash();
  const textOf = useErrorText();
  const { may } = useSession();
  const [asked, setAsked] = useState(false);
  const cancel = useChange(CancelComparisonDocument, [ComparisonDetailDocument, ComparisonsDocument]);
  const remove = useChange(DeleteComparisonDocument, [ComparisonsDocument]);
  const { id, state, task } = comparison;

  async function certificate() {
    try {
      const answer = await api.request(ComparisonCertificateDocument, { id });
      saveFile(`comparison-${id}.json`, pretty(answer.getComparisonCertificate));
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
  }

  async function perform(change: typeof cancel | typeof remove, after?: () => void) {
    try {
      await change.mutateAsync({ id });
      after?.();
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
  }

  return (
    <>
      <Header
        variant="h1"
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            {may('operator') && state === 'RUNNING' && (
              <Button loading={cancel.isPending} onClick={() => void perform(cancel)}>
                {t('common.cancel')}
              </Button>
            )}
            {may('operator') && state !== 'RUNNING' && (
              <Button onClick={() => setAsked(true)}>{t('action.delete')}</Button>
            )}
            {may('operator') && state !== 'RUNNING' && task && (
              <Button onClick={() => void navigate(`/comparisons/create?task=${task}`)}>
                {t('compare.again')}
              </Button>
            )}
            {state === 'DONE' && (
              <Button iconName="download" onClick={() => void certificate()}>
                {t('compare.certificate')}
              </Button>
            )}
          </SpaceBetween>
        }
      >
        <span className="dth-break">
          {t('compare.fromTo', { source: comparison.source, destination: comparison.destination })}
        </span>
      </Header>
      {asked && (
        <Confirm
          title={t('compare.delete')}
          action={t('action.delete')}
          busy={remove.isPending}
          onConfirm={() => void perform(remove, () => void navigate('/comparisons'))}
          onDismiss={() => setAsked(false)}
        >
          {t('compare.deleteHint')}
        </Confirm>
      )}
    </>
  );
}

/** In words what it means, and what to do. */
function Verdict({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const { state, verdict, error, counts } = comparison;
  const objects = number(objectsIn(counts, STATES));
  if (verdict)
    return (
      <Alert type={VERDICT[verdict]!} header={t(`compare.verdict.${verdict}`)}>
        {t(`compare.meaning.${verdict}`, { objects })}
      </Alert>
    );
  return (
    <Alert
      type={state === 'RUNNING' ? 'info' : state === 'FAILED' ? 'error' : 'warning'}
      header={t(`compare.ended.${state as 'RUNNING'}`)}
    >
      {t(`compare.endedHint.${state as 'RUNNING'}`, { objects })}
      {error && (
        <div>
          <HubText>{error}</HubText>
        </div>
      )}
    </Alert>
  );
}

function Facts({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const { number, when, duration } = useFormat();
  const { startedAt, endedAt, task, notes } = comparison;
  const policy = t(`compare.policies.${comparison.policy as 'etag'}`);
  return (
    <Container header={<Header variant="h2">{t('compare.facts')}</Header>}>
      <SpaceBetween size="m">
        <KeyValuePairs
          columns={4}
          items={[
            {
              label: t('compare.policy'),
              value:
                comparison.sample < 100
                  ? t('compare.withSample', { policy, percent: number(comparison.sample, 3) })
                  : policy,
            },
            { label: t('compare.started'), value: when(startedAt) },
            {
              label: t('compare.duration'),
              value:
                startedAt && endedAt ? duration((Date.parse(endedAt) - Date.parse(startedAt)) / 1000) : '-',
            },
            { label: t('compare.by'), value: comparison.createdBy || '-' },
            ...(comparison.filtered
              ? [{ label: t('compare.filtered'), value: number(comparison.filtered) }]
              : []),
            ...(task
              ? [
                  {
                    label: t('compare.task'),
                    value: <PageLink to={`/tasks/${task}`}>{t('compare.toTask')}</PageLink>,
                  },
                ]
              : []),
          ]}
        />
        {notes.length > 0 && (
          <ul>
            {notes.map((note) => (
              <li key={note}>
                <HubText>{note}</HubText>
              </li>
            ))}
          </ul>
        )}
      </SpaceBetween>
    </Container>
  );
}

function ByState({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const columns = useStateColumns();
  const rows = STATES.flatMap((state) => comparison.counts.filter((each) => each.state === state));
  if (rows.length === 0) return null;
  return (
    <Table
      variant="container"
      items={rows}
      trackBy="state"
      wrapLines
      ariaLabels={{ tableLabel: t('compare.byState') }}
      header={<Header variant="h2">{t('compare.byState')}</Header>}
      columnDefinitions={columns}
    />
  );
}

function useStateColumns(): TableProps.ColumnDefinition<Comparison['counts'][number]>[] {
  const { t } = useTranslation();
  const { number, bytes } = useFormat();
  return [
    {
      id: 'state',
      header: t('common.status'),
      cell: (row) => <StateOf state={row.state} />,
      isRowHeader: true,
      minWidth: 240,
    },
    { id: 'objects', header: t('compare.objects'), cell: (row) => number(row.objects), minWidth: 100 },
    { id: 'bytes', header: t('compare.bytes'), cell: (row) => bytes(row.bytes), minWidth: 100 },
  ];
}
