import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import type { TableProps } from '@cloudscape-design/components/table';
import Modal from '@cloudscape-design/components/modal';
import Spinner from '@cloudscape-design/components/spinner';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { DeleteStoreDocument, StoresDocument, TestStoreDocument } from '../../../api/generated';
import { useData } from '../../../api/hooks';
import { useFlash } from '../../../app/flash';
import { InfoLink } from '../../../app/help';
import { useSession } from '../../../app/session';
import { Empty } from '../../../components/Empty';
import { ErrorAlert } from '../../../components/ErrorAlert';
import { PageLink } from '../../../components/PageLink';
import { useFormat } from '../../../format';
import { Verdict } from '../../TestConnection';
import { useJob } from '../../useJob';
import { Browser } from './Browser';
import { type Store, StoreForm } from './StoreForm';
import { ConfirmChange } from '../../../pages/admin/ConfirmChange';
import { ListPage } from '../../../pages/admin/ListPage';

type Dialog = 'change' | 'test' | 'browse' | 'delete';
type Open = { dialog: 'create' } | { dialog: Dialog; store: Store };

/** The places that tasks name. Operators manage them, test them and look into them. */
export function Stores() {
  const { t } = useTranslation();
  const flash = useFlash();
  const { may } = useSession();
  const { data, error, refetch } = useData(StoresDocument, {}, { refetchInterval: 30_000 });
  const [open, setOpen] = useState<Open | null>(null);
  const close = () => setOpen(null);
  const manages = may('operator');
  const columns = useColumns(manages, setOpen);
  const create = (
    <Button variant="primary" onClick={() => setOpen({ dialog: 'create' })}>
      {t('stores.create')}
    </Button>
  );
  return (
    <>
      <ListPage<Store>
        title={t('nav.stores')}
        description={t('stores.about')}
        info={
          <InfoLink
            title={t('nav.stores')}
            body={
              <>
                <p>{t('stores.help')}</p>
                <p>{t('stores.helpChange')}</p>
              </>
            }
          />
        }
        actions={manages && create}
        items={data?.listStores}
        error={error}
        retry={() => void refetch()}
        idOf={(store) => store.name}
        textOf={(store) => `${store.name} ${store.endpoint} ${store.kind} ${store.description}`}
        columns={columns}
        empty={<Empty title={t('stores.none')} hint={t('stores.noneHint')} action={manages && create} />}
      />
      {(open?.dialog === 'create' || open?.dialog === 'change') && (
        <StoreForm
          {...(open.dialog === 'change' ? { known: open.store } : {})}
          onDismiss={close}
          onDone={(name) => {
            close();
            const done = open.dialog === 'change' ? 'stores.changed' : 'stores.created';
            flash({ type: 'success', content: t(done, { name }) });
          }}
        />
      )}
      {open?.dialog === 'test' && <Test store={open.store} onDismiss={close} />}
      {open?.dialog === 'browse' && (
        <Browser
          title={t('stores.browseTitle', { name: open.store.name })}
          input={{
            type: 'S3EC2',
            parameters: [{ ParameterKey: 'srcStore', ParameterValue: open.store.name }],
          }}
          side="SOURCE"
          start={{ bucket: '', prefix: '' }}
          onDismiss={close}
        />
      )}
      {open?.dialog === 'delete' && (
        <ConfirmChange
          title={t('stores.deleteTitle', { name: open.store.name })}
          action={t('common.delete')}
          document={DeleteStoreDocument}
          variables={{ name: open.store.name }}
          stale={[StoresDocument]}
          done={t('admin.deleted', { name: open.store.name })}
          onClose={close}
        >
          {t('stores.deleteHint')}
        </ConfirmChange>
      )}
    </>
  );
}

function Test({ store, onDismiss }: { store: Store; onDismiss: () => void }) {
  const { t } = useTranslation();
  const job = useJob(TestStoreDocument, { name: store.name }, true);
  return (
    <Modal
      visible
      header={t('stores.testTitle', { name: store.name })}
      closeAriaLabel={t('common.close')}
      onDismiss={onDismiss}
    >
      <div aria-live="polite">
        {job.error ? (
          <ErrorAlert error={job.error} retry={job.run} />
        ) : job.result ? (
          <Verdict found={JSON.parse(job.result)} />
        ) : (
          <>
            <Spinner /> {t('create.test.running')}
          </>
        )}
      </div>
    </Modal>
  );
}

function useColumns(manages: boolean, onOpen: (open: Open) => void): TableProps.ColumnDefinition<Store>[] {
  const { t, i18n } = useTranslation();
  const { when } = useFormat();
  const any = t as unknown as (key: string) => string;
  const kindOf = (kind: string) => {
    const key = `s3.choices.store.labels.${kind || 'unset'}`;
    return i18n.exists(key) ? any(key) : kind || '-';
  };
  return [
    {
      id: 'name',
      minWidth: 150,
      header: t('common.name'),
      cell: (store) => <span className="dth-break">{store.name}</span>,
      sortingField: 'name',
      isRowHeader: true,
    },
    {
      id: 'endpoint',
      minWidth: 200,
      header: t('stores.fields.endpoint'),
      cell: (store) => <span className="dth-break">{store.endpoint || t('stores.aws')}</span>,
      sortingField: 'endpoint',
    },
    {
      id: 'kind',
      minWidth: 130,
      header: t('stores.fields.kind'),
      cell: (store) => kindOf(store.kind),
      sortingField: 'kind',
    },
    {
      id: 'keys',
      minWidth: 140,
      header: t('stores.keys'),
      cell: (store) => (
        <span className="dth-break">
          {store.anonymous ? t('stores.unsigned') : store.secret || store.profile || '-'}
        </span>
      ),
    },
    {
      id: 'tasks',
      minWidth: 120,
      header: t('stores.usedBy'),
      cell: (store) =>
        store.tasks > 0 ? (
          <PageLink to={`/tasks?text=${encodeURIComponent(`${store.name}:`)}`}>
            {t('stores.tasks', { count: store.tasks })}
          </PageLink>
        ) : (
          t('stores.unused')
        ),
      sortingField: 'tasks',
    },
    {
      id: 'updated',
      minWidth: 130,
      header: t('admin.changed'),
      cell: (store) => when(store.updatedAt),
      sortingField: 'updatedAt',
    },
    ...(manages
      ? [
          {
            id: 'actions',
            header: t('common.actions'),
            cell: (store: Store) => (
              <ButtonDropdown
                variant="inline-icon"
                expandToViewport
                ariaLabel={t('admin.actionsFor', { name: store.name })}
                items={[
                  { id: 'browse', text: t('stores.browse') },
                  { id: 'test', text: t('stores.test') },
                  { id: 'change', text: t('stores.change') },
                  {
                    id: 'delete',
                    text: t('common.delete'),
                    disabled: store.tasks > 0,
                    disabledReason: t('stores.used'),
                  },
                ]}
                onItemClick={(event) => onOpen({ dialog: event.detail.id as Dialog, store })}
              />
            ),
          },
        ]
      : []),
  ];
}
