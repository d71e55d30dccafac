import Button from '@cloudscape-design/components/button';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminTokensDocument, type AdminTokensQuery, RevokeTokenDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { useFormat } from '../../format';
import { ConfirmChange } from './ConfirmChange';
import { ListPage } from './ListPage';
import { TokenForm } from './TokenForm';

type Token = AdminTokensQuery['listTokens'][number];

/** What programs sign in with. */
export function Tokens() {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(AdminTokensDocument, {}, { refetchInterval: 30_000 });
  const [creating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const columns = useColumns(setRevoking);
  const create = (
    <Button variant="primary" onClick={() => setCreating(true)}>
      {t('admin.tokens.create')}
    </Button>
  );

  return (
    <>
      <ListPage<Token>
        title={t('nav.tokens')}
        description={t('admin.tokens.about')}
        info={
          <InfoLink
            title={t('nav.tokens')}
            body={
              <>
                <p>{t('admin.tokens.help')}</p>
                <p>{t('admin.tokens.helpRole')}</p>
              </>
            }
          />
        }
        actions={create}
        items={data?.listTokens}
        error={error}
        retry={() => void refetch()}
        idOf={(token) => token.id}
        textOf={(token) => `${token.name} ${token.createdBy}`}
        columns={columns}
        empty={<Empty title={t('admin.tokens.none')} hint={t('admin.tokens.noneHint')} action={create} />}
      />
      {creating && <TokenForm onClose={() => setCreating(false)} />}
      {revoking && (
        <ConfirmChange
          title={t('admin.tokens.revokeTitle', { name: revoking.name })}
          action={t('admin.tokens.revoke')}
          document={RevokeTokenDocument}
          variables={{ id: revoking.id }}
          stale={[AdminTokensDocument]}
          done={t('admin.tokens.revoked', { name: revoking.name })}
          onClose={() => setRevoking(null)}
        >
          {t('admin.tokens.revokeHint')}
        </ConfirmChange>
      )}
    </>
  );
}

function useColumns(onRevoke: (token: Token) => void): TableProps.ColumnDefinition<Token>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'name',
      minWidth: 150,
      header: t('common.name'),
      cell: (token) => <span className="dth-break">{token.name}</span>,
      sortingField: 'name',
      isRowHeader: true,
    },
    {
      id: 'role',
      minWidth: 120,
      header: t('admin.role'),
      cell: (token) => t(`role.${token.role}`),
      sortingField: 'role',
    },
    {
      id: 'expires',
      minWidth: 130,
      header: t('admin.tokens.expires'),
      cell: (token) => <Expiry at={token.expiresAt} />,
      sortingField: 'expiresAt',
    },
    {
      id: 'used',
      minWidth: 130,
      header: t('admin.tokens.lastUsed'),
      cell: (token) => (token.lastUsedAt ? when(token.lastUsedAt) : t('common.never')),
      sortingField: 'lastUsedAt',
    },
    {
      id: 'created',
      minWidth: 130,
      header: t('common.created'),
      cell: (token) => when(token.createdAt),
      sortingField: 'createdAt',
    },
    {
      id: 'by',
      minWidth: 120,
      header: t('admin.tokens.by'),
      cell: (token) => token.createdBy,
      sortingField: 'createdBy',
    },
    {
      id: 'actions',
      header: t('common.actions'),
      cell: (token) => (
        <Button
          variant="inline-link"
          ariaLabel={t('admin.tokens.revokeOne', { name: token.name })}
          onClick={() => onRevoke(token)}
        >
          {t('admin.tokens.revoke')}
        </Button>
      ),
    },
  ];
}

function Expiry({ at }: { at: string | null }) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const [opened] = useState(Date.now);
  if (!at) return t('common.never');
  if (Date.parse(at) > opened) return when(at);
  return <StatusIndicator type="stopped">{t('admin.tokens.expired', { when: when(at) })}</StatusIndicator>;
}
