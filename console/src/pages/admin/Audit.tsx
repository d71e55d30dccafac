import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Grid from '@cloudscape-design/components/grid';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import Pagination from '@cloudscape-design/components/pagination';
import Popover from '@cloudscape-design/components/popover';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'react-router';
import { AdminAuditDocument, type AdminAuditQuery } from '../../api/generated';
import { useApi, useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { ExportButton } from '../../components/ExportButton';
import { SpanForm } from '../../components/SpanForm';
import { useFormat } from '../../format';
import { PageLink } from '../../components/PageLink';
import { AuditOutcome } from './AuditOutcome';
import { pretty, taskOf, useOperationName, useOperations } from './auditWords';
import { exportAudit, MOST } from './exportAudit';

type Entry = AdminAuditQuery['listAudit']['items'][number];
const PAGE = 50;

/** The filters in the address. The times are epoch seconds. */
type Shown = Record<'who' | 'target' | 'what' | 'since' | 'until', string>;

/** What the hub is asked for. */
const wanted = ({ who, target, what, since, until }: Shown) => ({
  who,
  target,
  ...(what && { what: [what] }),
  ...(since && { since }),
  ...(until && { until }),
});

/** What was changed, by whom, newest first. */
export function Audit() {
  const { t } = useTranslation();
  const { number } = useFormat();
  const api = useApi();
  const [search, setSearch] = useSearchParams();
  const given = (name: keyof Shown) => search.get(name) ?? '';
  const shown: Shown = {
    who: given('who'),
    target: given('target'),
    what: given('what'),
    since: given('since'),
    until: given('until'),
  };
  const page = Math.max(1, Math.trunc(Number(search.get('page'))) || 1);
  const filters = wanted(shown);
  const { data, error, isPlaceholderData, refetch } = useData(
    AdminAuditDocument,
    { ...filters, page, count: PAGE },
    { refetchInterval: 30_000 },
  );
  const total = data?.listAudit.total ?? 0;
  const filtered = Object.values(shown).some(Boolean);

  /** Changes what is in the address; another filter begins at the first page again. */
  function show(next: Partial<Shown> & { page?: number }) {
    const { page = 1, ...changed } = next;
    const all = { ...shown, ...changed, page: page > 1 ? String(page) : '' };
    setSearch(Object.fromEntries(Object.entries(all).filter(([, value]) => value)), { replace: true });
  }
  const columns = useColumns(show);
  const clear = (
    <Button formAction="none" disabled={!filtered} onClick={() => setSearch({}, { replace: true })}>
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
              <SpaceBetween direction="horizontal" size="xs">
                <Button iconName="refresh" ariaLabel={t('common.refresh')} onClick={() => void refetch()} />
                <ExportButton
                  name="audit-log"
                  load={(format) => exportAudit(api, filters, format)}
                  cut={t('admin.audit.exportMore', { most: number(MOST) })}
                />
              </SpaceBetween>
            }
          >
            {t('nav.audit')}
          </Header>
        }
        filter={
          <SpaceBetween size="s">
            <Filters shown={shown} onApply={show} clear={clear} />
            <SpanForm
              label={t('admin.audit.anyTime')}
              span={
                shown.since && shown.until ? { from: Number(shown.since), to: Number(shown.until) } : null
              }
              onChange={({ from, to }) => show({ since: String(from), until: String(to) })}
              onClear={() => show({ since: '', until: '' })}
            />
          </SpaceBetween>
        }
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

/** What is typed counts once it is sent off: the hub compares whole names. What is chosen counts at once. */
function Filters({
  shown,
  onApply,
  clear,
}: {
  shown: Shown;
  onApply: (filters: Partial<Shown>) => void;
  clear: ReactNode;
}) {
  const { t } = useTranslation();
  const operations = useOperations();
  const [who, setWho] = useState(shown.who);
  const [target, setTarget] = useState(shown.target);
  const [applied, setApplied] = useState({ who, target });
  if (applied.who !== shown.who || applied.target !== shown.target) {
    // By a click in the table, or a step back.
    setApplied({ who: shown.who, target: shown.target });
    setWho(shown.who);
    setTarget(shown.target);
  }
  const typed = { who: who.trim(), target: target.trim() };
  const actions = [{ value: '', label: t('admin.audit.anyAction') }, ...operations];
  const third = { colspan: { default: 12, s: 4 } };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onApply(typed);
      }}
    >
      <SpaceBetween size="s">
        <Grid gridDefinition={[third, third, third]}>
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
          <FormField label={t('admin.audit.what')} stretch>
            <Select
              options={actions}
              selectedOption={
                actions.find(({ value }) => value === shown.what) ?? {
                  value: shown.what,
                  label: shown.what,
                }
              }
              filteringType="auto"
              filteringAriaLabel={t('admin.audit.findAction')}
              onChange={({ detail }) => onApply({ ...typed, what: detail.selectedOption.value ?? '' })}
            />
          </FormField>
        </Grid>
        <SpaceBetween direction="horizontal" size="xs">
          <Button formAction="submit">{t('admin.audit.apply')}</Button>
          {clear}
        </SpaceBetween>
      </SpaceBetween>
    </form>
  );
}
