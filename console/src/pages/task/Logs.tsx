import Header from '@cloudscape-design/components/header';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { TaskLogStreamsDocument, type TaskLogStreamsQuery } from '../../api/generated';
import { useData } from '../../api/hooks';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useFormat } from '../../format';
import { LogViewer } from './LogViewer';
import type { TabProps } from '../../plugins/types';
import { useShown, useTabPath } from './tab';
import { TabLink } from './TabLink';

type Stream = NonNullable<
  NonNullable<NonNullable<TaskLogStreamsQuery['listLogStreams']>['logStreams']>[number]
>;

const PAGE = 20;

export function Logs({ task, poll }: Pick<TabProps, 'task' | 'poll'>) {
  const [shown] = useShown();
  const stream = shown.get('stream');
  if (stream) return <LogViewer key={stream} group={task.logGroupName ?? ''} stream={stream} />;
  return <Streams task={task} poll={poll} />;
}

function Streams({ task, poll }: Pick<TabProps, 'task' | 'poll'>) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const columns = useColumns();
  const [shown, change] = useShown();
  const page = Math.max(1, Number.parseInt(shown.get('page') ?? '1', 10) || 1);
  const streams = useData(
    TaskLogStreamsDocument,
    { logGroupName: task.logGroupName, page, count: PAGE },
    { refetchInterval: Math.max(poll, 5_000) },
  );
  const { logStreams, total } = streams.data?.listLogStreams ?? {};
  const items = (logStreams ?? []).filter((stream) => stream !== null);
  return (
    <SpaceBetween size="m">
      <ErrorAlert error={streams.error} retry={() => void streams.refetch()} />
      <Table
        variant="container"
        loading={streams.isPending}
        loadingText={t('common.loading')}
        items={items}
        trackBy={(stream) => stream.logStreamName ?? ''}
        wrapLines
        ariaLabels={{ tableLabel: t('detail.logs.streams') }}
        header={
          <Header variant="h2" counter={`(${number(total ?? 0)})`}>
            {t('detail.logs.streams')}
          </Header>
        }
        empty={<Empty title={t('detail.logs.none')} hint={t('detail.logs.noneHint')} />}
        pagination={
          <Pagination
            currentPageIndex={page}
            pagesCount={Math.max(1, Math.ceil((total ?? 0) / PAGE))}
            onChange={({ detail }) =>
              change({ page: detail.currentPageIndex > 1 ? String(detail.currentPageIndex) : '' })
            }
          />
        }
        columnDefinitions={columns}
      />
    </SpaceBetween>
  );
}

/** Epoch milliseconds come as text. */
const time = (milliseconds: string | null) => (milliseconds ? Number(milliseconds) : null);

function useColumns(): TableProps.ColumnDefinition<Stream>[] {
  const { t } = useTranslation();
  const { bytes, when } = useFormat();
  const path = useTabPath();
  return [
    {
      id: 'name',
      header: t('detail.logs.stream'),
      isRowHeader: true,
      cell: ({ logStreamName }) => (
        <TabLink to={path('logs', { stream: logStreamName ?? '' })}>
          <span className="dth-break">{logStreamName}</span>
        </TabLink>
      ),
    },
    {
      id: 'last',
      header: t('detail.logs.last'),
      cell: ({ lastEventTimestamp }) => when(time(lastEventTimestamp)),
    },
    {
      id: 'first',
      header: t('detail.logs.first'),
      cell: ({ firstEventTimestamp }) => when(time(firstEventTimestamp)),
    },
    { id: 'size', header: t('detail.logs.size'), cell: ({ storedBytes }) => bytes(storedBytes) },
  ];
}
