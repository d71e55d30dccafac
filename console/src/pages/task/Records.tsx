import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { usePreference } from '../../app/preferences';
import { useSession } from '../../app/session';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { ListPreferences, type ListShown } from '../../components/ListPreferences';
import { visible } from '../../components/visible';
import { FILTERS, RecordFilters, readFilters } from './RecordFilters';
import type { Task, TaskPlugin } from '../../plugins/types';
import { useWords } from '../../plugins/words';
import { useShown } from './tab';
import { useRetry } from './useRetry';

const SIZES = [20, 50, 100, 500];
const NOT_UTF8 = '\ufffd'; // what the hub writes for bytes that no text can hold: such a key cannot be named

/** What of a list is shown: by the address and the user's choice. `variables` are those of its query. */
export function useRecordList(id: string, usual: readonly string[]) {
  const [shown, change] = useShown();
  const [preferences, setPreferences] = usePreference<ListShown>(id, {
    pageSize: 50,
    wrapLines: true,
    columns: usual,
  });
  const pages = usePages(shown, change);
  const filters = readFilters(shown);
  const variables = { ...filters, limit: preferences.pageSize, nextToken: pages.token || null };
  return { shown, preferences, setPreferences, pages, filters, variables };
}

/** The records of a task, by status, name, reason and run. Those that failed can be tried again. */
export function Records<Row extends { key: string; status: string }>({
  task,
  plugin,
  list,
  columns,
  all,
  records,
  page,
}: {
  task: Task;
  plugin: TaskPlugin;
  list: ReturnType<typeof useRecordList>;
  columns: TableProps.ColumnDefinition<Row>[];
  /** Ids of the columns. */
  all: readonly string[];
  records: { error: Error | null; isPending: boolean; isPlaceholderData: boolean; refetch: () => unknown };
  page: { items: readonly Row[]; nextToken: string | null } | undefined;
}) {
  const { t } = useTranslation();
  const words = useWords(plugin);
  const { may } = useSession();
  const { shown, preferences, setPreferences, pages, filters } = list;
  const retry = useRetry(task.id);
  const [keys, setKeys] = useState<readonly string[]>([]);
  const { items: rows = [], nextToken } = page ?? {};
  const chosen = rows.filter((record) => keys.includes(record.key) && record.status === 'FAILED');
  const filtered = FILTERS.some((name) => shown.get(name));

  function show(changes: Record<string, string>) {
    setKeys([]);
    pages.restart(changes);
  }

  const selection: Partial<TableProps<Row>> = {
    selectionType: 'multi',
    selectedItems: chosen,
    onSelectionChange: ({ detail }) => setKeys(detail.selectedItems.map((record) => record.key)),
    isItemDisabled: (record) => record.status !== 'FAILED' || record.key.includes(NOT_UTF8),
  };
  return (
    <SpaceBetween size="m">
      <ErrorAlert error={records.error} retry={() => void records.refetch()} />
      <Table
        variant="container"
        loading={records.isPending}
        loadingText={t('common.loading')}
        items={rows}
        trackBy="key"
        wrapLines={preferences.wrapLines}
        columnDefinitions={columns}
        columnDisplay={all.map((id) => ({ id, visible: preferences.columns.includes(id) }))}
        {...(may('operator') ? selection : {})}
        ariaLabels={{
          tableLabel: words('detail.objects.title'),
          selectionGroupLabel: words('detail.objects.selection'),
          allItemsSelectionLabel: () => t('detail.objects.selectAll'),
          itemSelectionLabel: (_, record) => t('detail.objects.select', { key: visible(record.key) }),
        }}
        header={
          <Header
            variant="h2"
            description={words('detail.objects.deadLetters')}
            actions={
              may('operator') && (
                <SpaceBetween direction="horizontal" size="xs">
                  <Button
                    disabled={!chosen.length}
                    loading={retry.busy}
                    onClick={() =>
                      retry.start({ keys: chosen.map((record) => record.key) }, () => setKeys([]))
                    }
                  >
                    {chosen.length
                      ? t('detail.objects.retrySelectedCount', { shown: chosen.length })
                      : t('detail.objects.retrySelected')}
                  </Button>
                  <Button
                    loading={retry.busy}
                    onClick={() =>
                      retry.start(filters.reason ? { reason: filters.reason } : {}, () => setKeys([]))
                    }
                  >
                    {filters.reason ? t('detail.objects.retryReason') : t('detail.objects.redrive')}
                  </Button>
                </SpaceBetween>
              )
            }
          >
            {words('detail.objects.title')}
          </Header>
        }
        filter={<RecordFilters id={task.id} words={words} shown={shown} onChange={show} />}
        pagination={
          <Pagination
            currentPageIndex={pages.number}
            pagesCount={pages.number + (nextToken ? 1 : 0)}
            openEnd={Boolean(nextToken)}
            disabled={records.isPlaceholderData}
            onChange={({ detail }) => {
              setKeys([]);
              pages.go(detail.currentPageIndex, nextToken);
            }}
          />
        }
        preferences={
          <ListPreferences
            shown={preferences}
            sizes={SIZES}
            columns={columns
              .filter((column) => column.id !== 'key')
              .map((column) => ({ id: String(column.id), label: String(column.header) }))}
            onChange={(next) => {
              setPreferences(next);
              show({});
            }}
          />
        }
        empty={
          filtered ? (
            <Empty
              title={t('common.noMatch')}
              hint={t('common.noMatchHint')}
              action={
                <Button onClick={() => show(Object.fromEntries(FILTERS.map((name) => [name, ''])))}>
                  {t('common.clear')}
                </Button>
              }
            />
          ) : (
            <Empty title={words('detail.objects.none')} hint={words('detail.objects.noneHint')} />
          )
        }
      />
    </SpaceBetween>
  );
}

/** Pages of a list that knows only its next one: the tokens of those before are kept, to go back by. */
export function usePages(shown: URLSearchParams, change: (changes: Record<string, string>) => void) {
  const [tokens, setTokens] = useState(() => ['', ...(shown.get('after') ? [shown.get('after') ?? ''] : [])]);
  return {
    number: tokens.length,
    token: tokens.at(-1) ?? '',
    go(page: number, next: string | null | undefined) {
      const after = page > tokens.length ? [...tokens, next ?? ''] : tokens.slice(0, page);
      setTokens(after);
      change({ after: after.at(-1) ?? '' });
    },
    restart(changes: Record<string, string>) {
      setTokens(['']);
      change({ ...changes, after: '' });
    },
  };
}
