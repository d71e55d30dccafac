import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import TextFilter from '@cloudscape-design/components/text-filter';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import {
  CopyFindingsDocument,
  type FindingState,
  FindingsDocument,
  type FindingsQuery,
  HomeDocument,
  TasksDocument,
} from '../../api/generated';
import { useApi, useChange, useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { useSession } from '../../app/session';
import { Confirm } from '../../components/Confirm';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useErrorText } from '../../components/errorText';
import { ExportButton } from '../../components/ExportButton';
import { HubText } from '../../components/HubText';
import { visible } from '../../components/visible';
import { useFormat } from '../../format';
import { usePages } from '../task/Records';
import { useShown } from '../task/tab';
import { VisibleKey } from '../task/VisibleKey';
import { exportFindings, MOST } from './exportFindings';
import { type Comparison, COPYABLE, LISTED, objectsIn, StateOf } from './states';

type Finding = FindingsQuery['listFindings']['items'][number];
const PAGE = 50;

const copyable = ({ state }: { state: FindingState }) => COPYABLE.includes(state);

/** The objects that are not the same, by state and prefix: to look at, to keep as a file, and to copy. */
export function Findings({ comparison }: { comparison: Comparison }) {
  const { t } = useTranslation();
  const { may } = useSession();
  const { number } = useFormat();
  const api = useApi();
  const { id } = comparison;
  const [shown, change] = useShown();
  const pages = usePages(shown, change);
  const [keys, setKeys] = useState<readonly string[]>([]);
  const prefix = shown.get('prefix') ?? '';
  const state = LISTED.find((each) => each === shown.get('state'));
  const filters = { id, states: state ? [state] : null, prefix: prefix || null };
  const found = useData(FindingsDocument, { ...filters, limit: PAGE, nextToken: pages.token || null });
  const { items = [], nextToken } = found.data?.listFindings ?? {};
  const chosen = items.filter((item) => keys.includes(item.key) && copyable(item));
  const columns = useColumns();
  const show = (changes: Record<string, string>) => {
    setKeys([]);
    pages.restart(changes);
  };
  const selection: Partial<TableProps<Finding>> = {
    selectionType: 'multi',
    selectedItems: chosen,
    onSelectionChange: ({ detail }) => setKeys(detail.selectedItems.map((item) => item.key)),
    isItemDisabled: (item) => !copyable(item),
  };
  return (
    <SpaceBetween size="m">
      <ErrorAlert error={found.error} retry={() => void found.refetch()} />
      <Table
        variant="container"
        items={items}
        trackBy="key"
        loading={found.isPending}
        loadingText={t('common.loading')}
        wrapLines
        columnDefinitions={columns}
        {...(may('operator') ? selection : {})}
        ariaLabels={{
          tableLabel: t('compare.findings'),
          selectionGroupLabel: t('compare.selection'),
          allItemsSelectionLabel: () => t('compare.selectAll'),
          itemSelectionLabel: (_, item) => t('compare.select', { key: visible(item.key) }),
        }}
        header={
          <Header
            variant="h2"
            description={t('compare.findingsHint')}
            actions={
              <SpaceBetween direction="horizontal" size="xs">
                <ExportButton
                  name={`comparison-${filters.id}`}
                  load={(format) => exportFindings(api, filters, format)}
                  cut={t('compare.exportMore', {
                    most: number(MOST),
                    command: `dth comparison show ${filters.id} --report FILE.csv`,
                  })}
                />
                {may('operator') && (
                  <CopyButtons
                    comparison={comparison}
                    state={state}
                    prefix={prefix}
                    keys={chosen.map((item) => item.key)}
                  />
                )}
              </SpaceBetween>
            }
          >
            {t('compare.findings')}
          </Header>
        }
        filter={<Filters prefix={prefix} state={state} onChange={show} />}
        pagination={
          <Pagination
            currentPageIndex={pages.number}
            pagesCount={pages.number + (nextToken ? 1 : 0)}
            openEnd={Boolean(nextToken)}
            disabled={found.isPlaceholderData}
            onChange={({ detail }) => {
              setKeys([]);
              pages.go(detail.currentPageIndex, nextToken);
            }}
          />
        }
        empty={
          prefix || state ? (
            <Empty
              title={t('common.noMatch')}
              hint={t('common.noMatchHint')}
              action={<Button onClick={() => show({ prefix: '', state: '' })}>{t('common.clear')}</Button>}
            />
          ) : (
            <Empty title={t('compare.nothing')} hint={t('compare.nothingHint')} />
          )
        }
      />
    </SpaceBetween>
  );
}

function Filters({
  prefix,
  state,
  onChange,
}: {
  prefix: string;
  state: FindingState | undefined;
  onChange: (changes: Record<string, string>) => void;
}) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState(prefix);
  const [before, setBefore] = useState(prefix);
  if (before !== prefix) {
    setBefore(prefix);
    setTyped(prefix); // a folder was opened, or the filters were cleared
  }
  const options = [
    { value: '', label: t('compare.anyState') },
    ...LISTED.map((each) => ({ value: each as string, label: t(`compare.state.${each}`) })),
  ];
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <TextFilter
        filteringText={typed}
        filteringAriaLabel={t('compare.prefix')}
        filteringPlaceholder={t('compare.prefix')}
        onChange={({ detail }) => setTyped(detail.filteringText)}
        onDelayedChange={({ detail }) => onChange({ prefix: detail.filteringText })}
      />
      <Select
        ariaLabel={t('common.status')}
        options={options}
        selectedOption={options.find((each) => each.value === (state ?? '')) ?? null}
        onChange={({ detail }) => onChange({ state: detail.selectedOption.value ?? '' })}
      />
    </SpaceBetween>
  );
}

/** Copies what is chosen, or all that the filters show. It asks before. */
function CopyButtons({
  comparison,
  state,
  prefix,
  keys,
}: {
  comparison: Comparison;
  state: FindingState | undefined;
  prefix: string;
  keys: readonly string[];
}) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const navigate = useNavigate();
  const flash = useFlash();
  const textOf = useErrorText();
  const copy = useChange(CopyFindingsDocument, [TasksDocument, HomeDocument]);
  const [asked, setAsked] = useState(false);
  const all = objectsIn(comparison.counts, state ? [state] : COPYABLE);
  const possible = keys.length > 0 || (all > 0 && (!state || copyable({ state })));
  const what =
    keys.length > 0
      ? t('compare.copySelected', { count: keys.length, shown: number(keys.length) })
      : state || prefix
        ? t('compare.copyShown')
        : t('compare.copyAll', { shown: number(all) });

  async function perform() {
    try {
      const { copyFindings } = await copy.mutateAsync({
        id: comparison.id,
        states: state && keys.length === 0 ? [state] : null,
        prefix: keys.length === 0 && prefix ? prefix : null,
        keys: keys.length > 0 ? [...keys] : null,
      });
      flash({ type: 'success', content: t('compare.copyStarted') });
      await navigate(`/tasks/${copyFindings?.id}`);
    } catch (error) {
      setAsked(false);
      flash({ type: 'error', content: textOf(error) });
    }
  }

  return (
    <>
      <Button
        variant="primary"
        disabled={!possible}
        disabledReason={t('compare.nothingToCopy')}
        onClick={() => setAsked(true)}
      >
        {what}
      </Button>
      {asked && (
        <Confirm
          title={what}
          action={t('compare.copy')}
          busy={copy.isPending}
          onConfirm={() => void perform()}
          onDismiss={() => setAsked(false)}
        >
          {comparison.task ? t('compare.copyInTask') : t('compare.copyInNewTask')}
        </Confirm>
      )}
    </>
  );
}

function useColumns(): TableProps.ColumnDefinition<Finding>[] {
  const { t } = useTranslation();
  const { bytes } = useFormat();
  return [
    {
      id: 'key',
      header: t('compare.key'),
      minWidth: 260,
      isRowHeader: true,
      cell: (item) => <VisibleKey name={item.key} />,
    },
    {
      id: 'state',
      header: t('common.status'),
      minWidth: 240,
      cell: (item) => <StateOf state={item.state} />,
    },
    { id: 'size', header: t('compare.size'), minWidth: 110, cell: (item) => bytes(item.size) },
    {
      id: 'destSize',
      header: t('compare.destSize'),
      minWidth: 130,
      cell: (item) => bytes(item.destSize),
    },
    {
      id: 'reason',
      header: t('compare.reason'),
      minWidth: 200,
      cell: (item) => (item.reason ? <HubText>{item.reason}</HubText> : '-'),
    },
  ];
}
