import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Grid from '@cloudscape-design/components/grid';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import Pagination from '@cloudscape-design/components/pagination';
import Popover from '@cloudscape-design/components/popover';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { AdminAuditDocument, type AdminAuditQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { PageLink } from '../../components/PageLink';
import { AuditOutcome } from './AuditOutcome';
import { pretty, taskOf, useOperationName } from './auditWords';

type Entry = AdminAuditQuery['listAudit']['items'][number];
const PAGE = 50;

/** What was changed, by whom, newest first. */
export function Audit() {
  const { t } = useTranslation();
  const { number } = useFormat();
  const [search, setSearch] = useSearchParams();
  const who = search.get('who') ?? '';
  const target = search.get('target') ?? '';
  const page = Math.max(1, Math.trunc(Number(search.get('page'))) || 1);
  const { data, error, isPlaceholderData, refetch } = useData(
    AdminAuditDocument,
    { who, target, page, count: PAGE },
    { refetchInterval: 30_000 },
  );
  const total = data?.listAudit.total ?? 0;
  const filtered = who !== '' || target !== '';

  /** Changes what is in the address; another filter begins at the first page again. */
  function show(next: { who?: string; target?: string; page?: number }) {
    const all = { who, target, page: 1, ...next };
    setSearch(
      {
        ...(all.who && { who: all.who }),
        ...(all.target && { target: all.target }),
        ...(all.page > 1 && { page: String(all.page) }),
      },
      { replace: true },
    );
  }
  const columns = useColumns(show);
  const clear = (
    <Button formAction="none" disabled={!filtered} onClick={() => show({ who: '', target: '' })}>
      {t('common.clear')}
    </Button>
  );

  return (
    <SpaceBetween size="m">
      <ErrorAlert error={error} retry={() => void refetch()} />
      <Table<Entry>
        variant="full-page"
        items={data?.listAudit.items ?? []}
        trackBy={(entry) => String(entry.id)}
        loading={!error && (!data || (isPlaceholderData && data.listAudit.items.length === 0))}
        loadingText={t('common.loading')}
        wrapLines
        ariaLabels={{ tableLabel: t('nav.audit') }}
        header={
          <Header
            variant="awsui-h1-sticky"
            counter={data ? `(${number(total)})` : ''}
            description={t('admin.audit.about')}
            info={<InfoLink title={t('nav.audit')} body={<p>{t('admin.audit.help')}</p>} />}
            actions={
              <Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={() => void refetch()} />
            }
          >
            {t('nav.audit')}
          </Header>
        }
        filter={<Filters who={who} target={target} onApply={show} clear={clear} />}
        pagination={
          <Pagination
            currentPageIndex={page}
            pagesCount={Math.max(1, Math.ceil(total / PAGE))}
            ariaLabels={{ paginationLabel: t('admin.audit.pages') }}
            onChange={(event) => show({ page: event.detail.currentPageIndex })}
          />
        }
        columnDefinitions={columns}
        empty={
          filtered ? (
            <Empty title={t('common.noMatch')} hint={t('admin.audit.exact')} action={clear} />
          ) : (
            <Empty title={t('admin.audit.none')} hint={t('admin.audit.noneHint')} />
          )
        }
      />
    </SpaceBetween>
  );
}

function useColumns(
  onOnly: (filter: { who: string } | { target: string }) => void,
): TableProps.ColumnDefinition<Entry>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  const operationName = useOperationName();
  return [
    { id: 'at', minWidth: 130, header: t('admin.audit.at'), cell: (entry) => when(entry.at) },
    {
      id: 'who',
      minWidth: 130,
      header: t('admin.audit.who'),
      cell: (entry) => (
        <>
          <Button
            variant="inline-link"
            ariaLabel={t('admin.audit.only', { what: entry.who })}
            onClick={() => onOnly({ who: entry.who })}
          >
            {entry.who}
          </Button>
          <Box variant="small" display="block">
            {t(`admin.audit.via.${entry.via as 'token'}`, { defaultValue: entry.via })}
          </Box>
        </>
      ),
    },
    {
      id: 'what',
      minWidth: 130,
      header: t('admin.audit.what'),
      cell: (entry) => operationName(entry.what),
      isRowHeader: true,
    },
    {
      id: 'target',
      minWidth: 200,
      header: t('admin.audit.target'),
      cell: (entry) => <Target entry={entry} onOnly={(target) => onOnly({ target })} />,
    },
    {
      id: 'outcome',
      minWidth: 120,
      header: t('admin.audit.outcome'),
      cell: (entry) => <AuditOutcome outcome={entry.outcome} />,
    },
    {
      id: 'detail',
      header: t('admin.audit.detail'),
      cell: (entry) => (
        <Popover
          header={operationName(entry.what)}
          size="large"
          renderWithPortal
          triggerAriaLabel={t('admin.audit.detailOf', { what: operationName(entry.what) })}
          content={
            // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
            <pre className="dth-code" tabIndex={0}>
              {pretty(entry.detail)}
            </pre>
          }
        >
          {t('admin.audit.detail')}
        </Popover>
      ),
    },
  ];
}

function Target({ entry, onOnly }: { entry: Entry; onOnly: (target: string) => void }) {
  const { t } = useTranslation();
  const task = taskOf(entry);
  const target = entry.target || task;
  if (!target) return '-';
  return (
    <span className="dth-break">
      {task ? <PageLink to={`/tasks/${task}`}>{target}</PageLink> : target}{' '}
      {entry.target && (
        <Button
          variant="icon"
          iconName="filter"
          ariaLabel={t('admin.audit.only', { what: entry.target })}
          onClick={() => onOnly(entry.target)}
        />
      )}
    </span>
  );
}

/** What is typed counts once it is sent off: the hub compares whole names. */
function Filters(props: {
  who: string;
  target: string;
  onApply: (filters: { who: string; target: string }) => void;
  clear: ReactNode;
}) {
  const { t } = useTranslation();
  const [who, setWho] = useState(props.who);
  const [target, setTarget] = useState(props.target);
  const [applied, setApplied] = useState({ who, target });
  if (applied.who !== props.who || applied.target !== props.target) {
    // By a click in the table, or a step back.
    setApplied({ who: props.who, target: props.target });
    setWho(props.who);
    setTarget(props.target);
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        props.onApply({ who: who.trim(), target: target.trim() });
      }}
    >
      <Grid
        gridDefinition={[
          { colspan: { default: 12, s: 4 } },
          { colspan: { default: 12, s: 4 } },
          { colspan: { default: 12, s: 4 } },
        ]}
      >
        <FormField label={t('admin.audit.who')} stretch>
          <Input
            value={who}
            placeholder={t('admin.audit.whoHint')}
            onChange={(event) => setWho(event.detail.value)}
          />
        </FormField>
        <FormField label={t('admin.audit.target')} stretch>
          <Input
            value={target}
            placeholder={t('admin.audit.targetHint')}
            onChange={(event) => setTarget(event.detail.value)}
          />
        </FormField>
        <Box padding={{ top: 'l' }}>
          <SpaceBetween direction="horizontal" size="xs">
            <Button formAction="submit">{t('admin.audit.apply')}</Button>
            {props.clear}
          </SpaceBetween>
        </Box>
      </Grid>
    </form>
  );
}
