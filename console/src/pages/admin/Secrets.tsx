import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminSecretsDocument,
  type AdminSecretsQuery,
  DeleteSecretDocument,
  HomeDocument,
} from '../../api/generated';
import { useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { InfoLink } from '../../app/help';
import { useSession } from '../../app/session';
import { Empty } from '../../components/Empty';
import { useFormat } from '../../format';
import { ConfirmChange } from './ConfirmChange';
import { ListPage } from './ListPage';
import { BindForm } from '../../components/BindForm';
import { isUnbound } from '../../components/secretValue';
import { SecretForm } from '../../components/SecretForm';

type Secret = NonNullable<NonNullable<AdminSecretsQuery['listSecrets']>[number]>;
type Open = { dialog: 'create' } | { dialog: 'change' | 'bind' | 'delete'; secret: Secret };

/** The credentials that tasks name. Operators manage them; nobody is shown a value again. */
export function Secrets() {
  const { t } = useTranslation();
  const flash = useFlash();
  const { may } = useSession();
  const { data, error, refetch } = useData(AdminSecretsDocument, {}, { refetchInterval: 30_000 });
  const [open, setOpen] = useState<Open | null>(null);
  const close = () => setOpen(null);
  const manages = may('operator');
  const columns = useColumns(manages, may('admin'), setOpen);
  const create = (
    <Button variant="primary" onClick={() => setOpen({ dialog: 'create' })}>
      {t('admin.secrets.create')}
    </Button>
  );

  return (
    <>
      <ListPage<Secret>
        title={t('nav.secrets')}
        description={t('admin.secrets.about')}
        info={
          <InfoLink
            title={t('nav.secrets')}
            body={
              <>
                <p>{t('admin.secrets.help')}</p>
                <p>{t('admin.secrets.helpRotate')}</p>
                <p>{t('admin.secrets.helpHosts')}</p>
              </>
            }
          />
        }
        actions={manages && create}
        items={data && (data.listSecrets ?? []).filter((each) => each !== null)}
        error={error}
        retry={() => void refetch()}
        idOf={(secret) => secret.name}
        textOf={(secret) => `${secret.name} ${secret.description ?? ''}`}
        columns={columns}
        empty={
          <Empty
            title={t('admin.secrets.none')}
            hint={t('admin.secrets.noneHint')}
            action={manages && create}
          />
        }
      />
      {(open?.dialog === 'create' || open?.dialog === 'change') && (
        <SecretForm
          {...(open.dialog === 'change' ? { known: open.secret } : {})}
          onDismiss={close}
          onDone={(name) => {
            close();
            flash({
              type: 'success',
              content: t(open.dialog === 'change' ? 'admin.secrets.changed' : 'admin.secrets.created', {
                name,
              }),
            });
          }}
        />
      )}
      {open?.dialog === 'bind' && (
        <BindForm
          secret={open.secret}
          onDismiss={close}
          onDone={() => {
            close();
            flash({ type: 'success', content: t('admin.secrets.changed', { name: open.secret.name }) });
          }}
        />
      )}
      {open?.dialog === 'delete' && (
        <ConfirmChange
          title={t('admin.secrets.deleteTitle', { name: open.secret.name })}
          action={t('common.delete')}
          document={DeleteSecretDocument}
          variables={{ name: open.secret.name }}
          stale={[AdminSecretsDocument, HomeDocument]}
          done={t('admin.deleted', { name: open.secret.name })}
          onClose={close}
        >
          {t('admin.secrets.deleteHint')}
        </ConfirmChange>
      )}
    </>
  );
}

/** Where a secret may be used. */
function Hosts({ of: hosts }: { of: string[] }) {
  const { t } = useTranslation();
  if (isUnbound(hosts)) return <StatusIndicator type="warning">{t('admin.secrets.anyHost')}</StatusIndicator>;
  return <span className="dth-break">{hosts.join(', ') || t('admin.secrets.firstUse')}</span>;
}

function useColumns(
  manages: boolean,
  binds: boolean,
  onOpen: (open: Open) => void,
): TableProps.ColumnDefinition<Secret>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'name',
      minWidth: 160,
      header: t('common.name'),
      cell: (secret) => <span className="dth-break">{secret.name}</span>,
      sortingField: 'name',
      isRowHeader: true,
    },
    {
      id: 'description',
      minWidth: 180,
      header: t('common.description'),
      cell: (secret) => <span className="dth-break">{secret.description || '-'}</span>,
      sortingField: 'description',
    },
    {
      id: 'hosts',
      minWidth: 180,
      header: t('admin.secrets.hosts'),
      cell: (secret) => <Hosts of={secret.hosts} />,
    },
    {
      id: 'updated',
      minWidth: 130,
      header: t('admin.changed'),
      cell: (secret) => when(secret.updatedAt),
      sortingField: 'updatedAt',
    },
    ...(manages
      ? [
          {
            id: 'actions',
            header: t('common.actions'),
            cell: (secret: Secret) => (
              <ButtonDropdown
                variant="inline-icon"
                expandToViewport
                ariaLabel={t('admin.actionsFor', { name: secret.name })}
                items={[
                  { id: 'change', text: t('admin.secrets.change') },
                  ...(binds ? [{ id: 'bind', text: t('admin.secrets.bind') }] : []),
                  { id: 'delete', text: t('common.delete') },
                ]}
                onItemClick={(event) =>
                  onOpen({ dialog: event.detail.id as 'change' | 'bind' | 'delete', secret })
                }
              />
            ),
          },
        ]
      : []),
  ];
}
