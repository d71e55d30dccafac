import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  BrowseDocument,
  CreateBucketDocument,
  type CreateTaskInput,
  ListBucketsDocument,
  ObjectDetailsDocument,
  type Side,
} from '../../../api/generated';
import { useApi } from '../../../api/hooks';
import { Empty } from '../../../components/Empty';
import { ErrorAlert } from '../../../components/ErrorAlert';
import { useFormat } from '../../../format';
import { Verdict } from '../../TestConnection';
import { resultOf, useJob } from '../../useJob';
import { nameIn, type Place, trailOf } from './place';

interface Answer {
  ok: boolean;
  message: string;
  advice: string;
  detail: string;
}
interface Buckets extends Answer {
  buckets?: { name: string; created: string }[];
  more?: boolean;
}
interface Listed {
  key: string;
  size: number;
  modified: string;
  storageClass: string;
}
interface Page extends Answer {
  prefixes?: string[];
  objects?: Listed[];
  token?: string;
}
interface Pair {
  name: string;
  value: string;
}
interface Details extends Answer {
  properties?: Pair[];
  metadata?: Pair[];
  tags?: Pair[];
}

const BUCKET = { SOURCE: 'srcBucket', DESTINATION: 'destBucket' } as const;

/** The same input for another bucket. */
function inBucket(input: CreateTaskInput, side: Side, bucket: string): CreateTaskInput {
  const others = (input.parameters ?? []).filter((each) => each?.ParameterKey !== BUCKET[side]);
  return { ...input, parameters: [...others, { ParameterKey: BUCKET[side], ParameterValue: bucket }] };
}

/** What a store has: its buckets, their folders and objects, page by page. `onChoose`: one of them can be chosen. */
export function Browser(props: {
  title: string;
  /** What says where the side is. */
  input: CreateTaskInput;
  side: Side;
  start: Place;
  onChoose?: (place: Place) => void;
  onDismiss: () => void;
}) {
  const { t } = useTranslation();
  const [place, setPlace] = useState(props.start);
  const [key, setKey] = useState('');
  const go = (bucket: string, prefix = '') => {
    setKey('');
    setPlace({ bucket, prefix });
  };
  const { bucket, prefix } = place;
  const crumbs = [
    { text: t('stores.buckets'), href: '#' },
    ...(bucket ? [{ text: bucket, href: '#bucket' }] : []),
    ...trailOf(prefix).map((each) => ({ text: each.text || '/', href: `#${each.prefix}` })),
  ];
  return (
    <Modal
      visible
      size="large"
      header={props.title}
      closeAriaLabel={t('common.close')}
      onDismiss={props.onDismiss}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onDismiss}>
              {props.onChoose ? t('common.cancel') : t('common.close')}
            </Button>
            {props.onChoose && (
              <Button variant="primary" disabled={!bucket} onClick={() => props.onChoose?.(place)}>
                {bucket ? t('stores.choose', { place: `${bucket}/${prefix}` }) : t('stores.chooseBucket')}
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <BreadcrumbGroup
          items={crumbs}
          ariaLabel={t('stores.trail')}
          onFollow={(event) => {
            event.preventDefault();
            const to = event.detail.href;
            go(to === '#' ? '' : bucket, to === '#' || to === '#bucket' ? '' : to.slice(1));
          }}
        />
        {bucket === '' ? (
          <BucketList input={props.input} side={props.side} onOpen={go} />
        ) : key === '' ? (
          <Folder
            key={`${bucket}/${prefix}`}
            input={inBucket(props.input, props.side, bucket)}
            side={props.side}
            prefix={prefix}
            onFolder={(to) => go(bucket, to)}
            onObject={setKey}
          />
        ) : (
          <ObjectView
            input={inBucket(props.input, props.side, bucket)}
            side={props.side}
            objectKey={key}
            onBack={() => setKey('')}
          />
        )}
      </SpaceBetween>
    </Modal>
  );
}

type Bucket = NonNullable<Buckets['buckets']>[number];

function useBucketColumns(onOpen: (bucket: string) => void): TableProps.ColumnDefinition<Bucket>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'name',
      header: t('stores.bucket'),
      cell: ({ name }) => (
        <Button variant="inline-link" onClick={() => onOpen(name)}>
          <span className="dth-break">{name}</span>
        </Button>
      ),
      isRowHeader: true,
    },
    { id: 'created', header: t('stores.made'), cell: (each) => when(each.created || null) },
  ];
}

function BucketList(props: { input: CreateTaskInput; side: Side; onOpen: (bucket: string) => void }) {
  const { t } = useTranslation();
  const { side } = props;
  const columns = useBucketColumns(props.onOpen);
  const job = useJob(ListBucketsDocument, { input: inBucket(props.input, side, ''), side }, true);
  const found = job.result ? (JSON.parse(job.result) as Buckets) : undefined;
  if (job.error) return <ErrorAlert error={job.error} retry={job.run} />;
  if (found && !found.ok) return <Verdict found={found} />;
  return (
    <SpaceBetween size="m">
      {found?.message && found.buckets?.length === 0 && <Alert type="info">{found.message}</Alert>}
      <Table
        variant="embedded"
        contentDensity="compact"
        wrapLines
        loading={!found}
        loadingText={t('common.loading')}
        items={found?.buckets ?? []}
        trackBy="name"
        ariaLabels={{ tableLabel: t('stores.buckets') }}
        columnDefinitions={columns}
        empty={<Empty title={t('stores.noBuckets')} hint={t('stores.noBucketsHint')} />}
      />
      {found?.more && <Box color="text-body-secondary">{t('stores.moreBuckets')}</Box>}
      <NewBucket {...props} />
    </SpaceBetween>
  );
}

/** Makes a bucket, or goes to one that the keys may not list. */
function NewBucket({
  input,
  side,
  onOpen,
}: {
  input: CreateTaskInput;
  side: Side;
  onOpen: (bucket: string) => void;
}) {
  const { t } = useTranslation();
  const api = useApi();
  const [name, setName] = useState('');
  const [busy, setBusy] = useState(false);
  const [found, setFound] = useState<Answer | null>(null);
  const [error, setError] = useState<unknown>(null);
  const bucket = name.trim();
  async function make() {
    setBusy(true);
    setFound(null);
    setError(null);
    try {
      const variables = { input: inBucket(input, side, bucket), side };
      const answer = JSON.parse(await resultOf(api, CreateBucketDocument, variables)) as Answer;
      if (answer.ok) onOpen(bucket);
      else setFound(answer);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }
  return (
    <SpaceBetween size="s">
      <FormField
        label={t('stores.another')}
        description={t('stores.anotherHint')}
        secondaryControl={
          <SpaceBetween direction="horizontal" size="xs">
            <Button disabled={!bucket} disabledReason={t('stores.nameFirst')} onClick={() => onOpen(bucket)}>
              {t('stores.open')}
            </Button>
            <Button
              disabled={!bucket}
              disabledReason={t('stores.nameFirst')}
              loading={busy}
              onClick={() => void make()}
            >
              {t('stores.makeBucket')}
            </Button>
          </SpaceBetween>
        }
      >
        <Input
          value={name}
          autoComplete={false}
          spellcheck={false}
          onChange={(event) => setName(event.detail.value)}
        />
      </FormField>
      {found && <Verdict found={found} />}
      <ErrorAlert error={error} />
    </SpaceBetween>
  );
}

type Row = { folder: string } | { object: Listed };

function useFolderColumns(
  prefix: string,
  onFolder: (prefix: string) => void,
  onObject: (key: string) => void,
): TableProps.ColumnDefinition<Row>[] {
  const { t } = useTranslation();
  const { bytes, when } = useFormat();
  return [
    {
      id: 'name',
      header: t('common.name'),
      isRowHeader: true,
      cell: (row) =>
        'folder' in row ? (
          <Button variant="inline-link" iconName="folder" onClick={() => onFolder(row.folder)}>
            <span className="dth-break">{nameIn(prefix, row.folder)}</span>
          </Button>
        ) : (
          <Button variant="inline-link" onClick={() => onObject(row.object.key)}>
            <span className="dth-break">{nameIn(prefix, row.object.key) || '/'}</span>
          </Button>
        ),
    },
    {
      id: 'size',
      header: t('stores.size'),
      cell: (row) => ('object' in row ? bytes(row.object.size) : '-'),
    },
    {
      id: 'modified',
      header: t('stores.modified'),
      cell: (row) => ('object' in row ? when(row.object.modified || null) : '-'),
    },
    {
      id: 'class',
      header: t('stores.class'),
      cell: (row) => ('object' in row && row.object.storageClass) || '-',
    },
  ];
}

function Folder(props: {
  input: CreateTaskInput;
  side: Side;
  prefix: string;
  onFolder: (prefix: string) => void;
  onObject: (key: string) => void;
}) {
  const { t } = useTranslation();
  const { input, side, prefix } = props;
  const columns = useFolderColumns(prefix, props.onFolder, props.onObject);
  const [tokens, setTokens] = useState<readonly string[]>(['']); // of the pages up to this one
  const token = tokens.at(-1) ?? '';
  const job = useJob(BrowseDocument, { input, side, prefix, token }, true);
  const found = job.result ? (JSON.parse(job.result) as Page) : undefined;
  if (job.error) return <ErrorAlert error={job.error} retry={job.run} />;
  if (found && !found.ok) return <Verdict found={found} />;
  const rows: Row[] = [
    ...(found?.prefixes ?? []).map((folder) => ({ folder })),
    ...(found?.objects ?? []).map((object) => ({ object })),
  ];
  const next = found?.token;
  return (
    <SpaceBetween size="m">
      <Table<Row>
        variant="embedded"
        contentDensity="compact"
        wrapLines
        loading={!found}
        loadingText={t('common.loading')}
        items={rows}
        trackBy={(row) => ('folder' in row ? `/${row.folder}` : row.object.key)}
        ariaLabels={{ tableLabel: t('stores.contents') }}
        columnDefinitions={columns}
        empty={<Empty title={t('stores.nothing')} hint={t('stores.nothingHint')} />}
      />
      {(tokens.length > 1 || next) && (
        <SpaceBetween direction="horizontal" size="xs">
          <Button disabled={tokens.length < 2} onClick={() => setTokens(tokens.slice(0, -1))}>
            {t('stores.before')}
          </Button>
          <Button disabled={!next} onClick={() => next && setTokens([...tokens, next])}>
            {t('stores.next')}
          </Button>
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}

function ObjectView(props: { input: CreateTaskInput; side: Side; objectKey: string; onBack: () => void }) {
  const { t, i18n } = useTranslation();
  const { bytes, when } = useFormat();
  const { input, side, objectKey } = props;
  const job = useJob(ObjectDetailsDocument, { input, side, key: objectKey }, true);
  const found = job.result ? (JSON.parse(job.result) as Details) : undefined;
  const any = t as unknown as (key: string) => string;
  const labelOf = (name: string) => (i18n.exists(`stores.of.${name}`) ? any(`stores.of.${name}`) : name);
  const shown = ({ name, value }: Pair) =>
    name === 'size'
      ? bytes(Number(value))
      : name === 'modified'
        ? when(new Date(value).toISOString())
        : value;
  const pairs = (title: string, items: Pair[], named = (name: string) => name) =>
    items.length > 0 && (
      <SpaceBetween size="xs">
        <Box variant="h3">{title}</Box>
        <KeyValuePairs
          columns={2}
          items={items.map((each) => ({
            label: named(each.name),
            value: <span className="dth-break">{named === labelOf ? shown(each) : each.value}</span>,
          }))}
        />
      </SpaceBetween>
    );
  return (
    <SpaceBetween size="m">
      <Button iconName="angle-left" onClick={props.onBack}>
        {t('stores.back')}
      </Button>
      <Box variant="strong">
        <span className="dth-break">{objectKey}</span>
      </Box>
      {job.error ? (
        <ErrorAlert error={job.error} retry={job.run} />
      ) : !found ? (
        <Spinner />
      ) : !found.ok ? (
        <Verdict found={found} />
      ) : (
        <>
          {pairs(t('stores.properties'), found.properties ?? [], labelOf)}
          {pairs(t('stores.metadata'), found.metadata ?? [])}
          {pairs(t('stores.tags'), found.tags ?? [])}
          {found.detail && <Box color="text-body-secondary">{found.detail}</Box>}
        </>
      )}
    </SpaceBetween>
  );
}
