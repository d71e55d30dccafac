import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminHubDocument,
  AdminUsersDocument,
  type AdminUsersQuery,
  DeleteUserDocument,
  WhoAmIDocument,
} from '../../api/generated';
import { useData } from '../../api/hooks';
import { InfoLink } from '../../app/help';
import { useSession } from '../../app/session';
import { Copyable } from '../../components/Copyable';
import { Empty } from '../../components/Empty';
import { useFormat } from '../../format';
import { ConfirmChange } from './ConfirmChange';
import { Invitations, Invite } from './Invitations';
import { ListPage } from './ListPage';
import { AddUser, ChangeRole, SetPassword } from './UserForms';

type User = AdminUsersQuery['listUsers'][number];
const ACTIONS = ['role', 'password', 'delete'] as const;
type Open = { dialog: 'add' | 'invite' } | { dialog: (typeof ACTIONS)[number]; user: User };

/** Who may sign in, where the hub itself keeps its users. */
export function Users() {
  const { t } = useTranslation();
  const { name: me } = useSession();
  const hub = useData(AdminHubDocument, {});
  const invites = hub.data?.hubInfo.invites;
  const external = hub.data?.hubInfo.users === null;
  const users = useData(
    AdminUsersDocument,
    {},
    { enabled: hub.data !== undefined && !external, refetchInterval: 30_000 },
  );
  const [open, setOpen] = useState<Open | null>(null);
  const columns = useColumns(me, setOpen);
  const close = () => setOpen(null);
  if (external) return <KeptElsewhere issuer={hub.data?.hubInfo.issuer ?? ''} />;

  const add = (
    <SpaceBetween direction="horizontal" size="xs">
      <Button onClick={() => setOpen({ dialog: 'add' })}>{t('admin.users.add')}</Button>
      {invites && (
        <Button variant="primary" onClick={() => setOpen({ dialog: 'invite' })}>
          {t('admin.invitations.invite')}
        </Button>
      )}
    </SpaceBetween>
  );
  return (
    <SpaceBetween size="l">
      <ListPage<User>
        title={t('nav.users')}
        description={t('admin.users.about')}
        info={<InfoLink title={t('admin.users.roles')} body={<Roles />} />}
        actions={add}
        items={users.data?.listUsers}
        error={hub.error ?? users.error}
        retry={() => void (hub.error ? hub.refetch() : users.refetch())}
        idOf={(user) => user.name}
        textOf={(user) => `${user.name} ${user.email}`}
        columns={columns}
        empty={<Empty title={t('admin.users.none')} action={add} />}
      />
      {invites && <Invitations />}
      {open?.dialog === 'invite' && <Invite onClose={close} />}
      {open?.dialog === 'add' && <AddUser onClose={close} />}
      {open?.dialog === 'role' && <ChangeRole user={open.user} own={open.user.name === me} onClose={close} />}
      {open?.dialog === 'password' && (
        <SetPassword name={open.user.name} own={open.user.name === me} onClose={close} />
      )}
      {open?.dialog === 'delete' && (
        <ConfirmChange
          title={t('admin.users.deleteTitle', { name: open.user.name })}
          action={t('common.delete')}
          document={DeleteUserDocument}
          variables={{ name: open.user.name }}
          stale={[AdminUsersDocument, WhoAmIDocument]}
          done={t('admin.deleted', { name: open.user.name })}
          onClose={close}
        >
          {t(open.user.name === me ? 'admin.users.deleteSelf' : 'admin.users.deleteHint')}
        </ConfirmChange>
      )}
    </SpaceBetween>
  );
}

function useColumns(me: string, onOpen: (open: Open) => void): TableProps.ColumnDefinition<User>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'name',
      minWidth: 140,
      header: t('common.name'),
      cell: (user) => (user.name === me ? t('admin.users.you', { name: user.name }) : user.name),
      sortingField: 'name',
      isRowHeader: true,
    },
    {
      id: 'role',
      minWidth: 120,
      header: t('admin.role'),
      cell: (user) => t(`role.${user.role}`),
      sortingField: 'role',
    },
    {
      id: 'email',
      minWidth: 160,
      header: t('admin.email'),
      cell: (user) => <span className="dth-break">{user.email || '-'}</span>,
      sortingField: 'email',
    },
    {
      id: 'password',
      minWidth: 190,
      header: t('admin.users.password'),
      cell: (user) =>
        user.mustChangePassword ? (
          <StatusIndicator type="pending">{t('admin.users.mustChange')}</StatusIndicator>
        ) : (
          <StatusIndicator>{t('admin.users.own')}</StatusIndicator>
        ),
    },
    {
      id: 'login',
      minWidth: 130,
      header: t('admin.users.lastLogin'),
      cell: (user) => (user.lastLoginAt ? when(user.lastLoginAt) : t('common.never')),
      sortingField: 'lastLoginAt',
    },
    {
      id: 'created',
      minWidth: 130,
      header: t('common.created'),
      cell: (user) => when(user.createdAt),
      sortingField: 'createdAt',
    },
    {
      id: 'actions',
      header: t('common.actions'),
      cell: (user) => (
        <ButtonDropdown
          variant="inline-icon"
          expandToViewport
          ariaLabel={t('admin.actionsFor', { name: user.name })}
          items={ACTIONS.map((id) => ({ id, text: t(`admin.users.action.${id}`) }))}
          onItemClick={(event) => onOpen({ dialog: event.detail.id as (typeof ACTIONS)[number], user })}
        />
      ),
    },
  ];
}

function Roles() {
  const { t } = useTranslation();
  return (
    <dl>
      {(['viewer', 'operator', 'admin'] as const).map((role) => (
        <div key={role}>
          <dt>{t(`role.${role}`)}</dt>
          <dd>{t(`admin.roleHint.${role}`)}</dd>
        </div>
      ))}
    </dl>
  );
}

function KeptElsewhere({ issuer }: { issuer: string }) {
  const { t } = useTranslation();
  return (
    <Container header={<Header variant="h1">{t('nav.users')}</Header>}>
      <Alert type="info" header={t('admin.users.elsewhere')}>
        <Box variant="p">{t('admin.users.elsewhereHint')}</Box>
        <Copyable text={issuer} />
      </Alert>
    </Container>
  );
}
