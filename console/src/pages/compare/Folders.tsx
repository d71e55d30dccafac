import Box from '@cloudscape-design/components/box';
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import Button from '@cloudscape-design/components/button';
import Header from '@cloudscape-design/components/header';
import Link from '@cloudscape-design/components/link';
import Pagination from '@cloudscape-design/components/pagination';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ComparedFoldersDocument, type ComparedFoldersQuery, type FindingState } from '../../api/generated';
import { useData } from '../../api/hooks';
import { Empty } from '../../components/Empty';
import { ErrorAlert } from '../../components/ErrorAlert';
import { visible } from '../../components/visible';
import { useFormat } from '../../format';
import { useShown } from '../task/tab';
import { NOT_COMPARED, objectsIn } from './states';

type Folder = ComparedFoldersQuery['listComparedFolders'][number];
const PAGE = 20;
const MOST = 1000; // folders that the hub gives at once
const COLUMNS: readonly (readonly [id: string, states: readonly FindingState[]])[] = [
  ['missing', ['MISSING']],
  ['different', ['DIFFERENT']],
  ['extra', ['EXTRA']],
  ['notCompared', NOT_COMPARED],
  ['same', ['SAME', 'UNPROVEN']],
];

/** The folders in one, with what was found in each. The folder is in the address, and the list of objects follows it. */
export function Folders({ id }: { id: string }) {
  const { t } = useTranslation();
  const { number } = useFormat();
  const [shown, change] = useShown();
  const path = shown.get('prefix') ?? '';
  const parent = path.slice(0, path.lastIndexOf('/') + 1);
  const [page, setPage] = useState(1);
  const found = useData(ComparedFoldersDocument, { id, path: parent });
  const items = found.data?.listComparedFolders ?? [];
  const pages = Math.max(1, Math.ceil(items.length / PAGE));
  const open = (prefix: string) => {
    setPage(1);
    change({ prefix, after: '' });
  };
  const columns = useColumns(parent, open);
  return (
    <SpaceBetween size="s">
      <ErrorAlert error={found.error} retry={() => void found.refetch()} />
      <Table
        variant="container"
        items={items.slice((page - 1) * PAGE, page * PAGE)}
        trackBy="path"
        loading={found.isPending}
        loadingText={t('common.loading')}
        wrapLines
        ariaLabels={{ tableLabel: t('compare.byFolder') }}
        header={
          <Header
            variant="h2"
            counter={found.data && `(${number(items.length)}${items.length === MOST ? '+' : ''})`}
            description={t('compare.byFolderHint')}
            actions={parent && <Button onClick={() => open(above(parent))}>{t('compare.up')}</Button>}
          >
            {t('compare.byFolder')}
          </Header>
        }
        filter={parent ? <Way path={parent} open={open} /> : null}
        columnDefinitions={columns}
        pagination={
          pages > 1 && (
            <Pagination
              currentPageIndex={page}
              pagesCount={pages}
              onChange={({ detail }) => setPage(detail.currentPageIndex)}
            />
          )
        }
        empty={<Empty title={t('compare.noFolders')} hint={t('compare.noFoldersHint')} />}
      />
    </SpaceBetween>
  );
}

const above = (path: string) => path.slice(0, path.lastIndexOf('/', path.length - 2) + 1);

/** From the top to this folder. */
function Way({ path, open }: { path: string; open: (prefix: string) => void }) {
  const { t } = useTranslation();
  const names = path.split('/').slice(0, -1);
  const items = names.map((name, index) => ({
    text: `${visible(name)}/`,
    href: `#${names.slice(0, index + 1).join('/')}/`,
  }));
  return (
    <BreadcrumbGroup
      ariaLabel={t('compare.folderWay')}
      items={[{ text: t('compare.top'), href: '#' }, ...items]}
      onFollow={(event) => {
        event.preventDefault();
        open(event.detail.href.slice(1));
      }}
    />
  );
}

function useColumns(parent: string, open: (prefix: string) => void): TableProps.ColumnDefinition<Folder>[] {
  const { t } = useTranslation();
  const { number } = useFormat();
  return [
    {
      id: 'folder',
      header: t('compare.folder'),
      minWidth: 160,
      isRowHeader: true,
      cell: ({ path }) => (
        <Link
          href={`#${path}`}
          onFollow={(event) => {
            event.preventDefault();
            open(path);
          }}
        >
          <span className="dth-break">
            {visible(path.slice(parent.length))}
            {!path.endsWith('/') && '…'}
          </span>
        </Link>
      ),
    },
    ...COLUMNS.map(([id, states]) => ({
      id,
      header: t(`compare.column.${id as 'same'}`),
      minWidth: 110,
      cell: ({ counts }: Folder) => {
        const objects = objectsIn(counts, states);
        return id !== 'same' && objects > 0 ? (
          <Box fontWeight="bold" variant="span">
            {number(objects)}
          </Box>
        ) : (
          number(objects)
        );
      },
    })),
  ];
}
