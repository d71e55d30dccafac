import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminInvitationsDocument,
  type AdminInvitationsQuery,
  CreateInvitationDocument,
  type Role,
  WithdrawInvitationDocument,
} from '../../api/generated';
import { useChange, useData } from '../../api/hooks';
import { Copyable } from '../../components/Copyable';
import { ErrorAlert } from '../../components/ErrorAlert';
import { FormModal } from '../../components/FormModal';
import { OptionalLabel } from '../../components/OptionalLabel';
import { useFormat } from '../../format';
import { ConfirmChange } from './ConfirmChange';
import { RoleField } from './RoleField';

type Invitation = AdminInvitationsQuery['listInvitations'][number];

const MOST_DAYS = 30;
const SIGNS = { OPEN: 'pending', USED: 'success', WITHDRAWN: 'stopped', EXPIRED: 'stopped' } as const;

/** Links with which people become users; nothing where nobody was ever invited. */
export function Invitations() {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(AdminInvitationsDocument, {}, { refetchInterval: 30_000 });
  const [withdrawing, setWithdrawing] = useState<Invitation | null>(null);
  const columns = useColumns(setWithdrawing);
  if (error) return <ErrorAlert error={error} retry={() => void refetch()} />;
  if (!data?.listInvitations.length) return null;
  return (
    <>
      <Table<Invitation>
        items={data.listInvitations}
        trackBy="id"
        wrapLines
        columnDefinitions={columns}
        ariaLabels={{ tableLabel: t('admin.invitations.title') }}
        header={
          <Header variant="h2" description={t('admin.invitations.about')}>
            {t('admin.invitations.title')}
          </Header>
        }
      />
      {withdrawing && (
        <ConfirmChange
          title={t('admin.invitations.withdrawTitle')}
          action={t('admin.invitations.withdraw')}
          document={WithdrawInvitationDocument}
          variables={{ id: withdrawing.id }}
          stale={[AdminInvitationsDocument]}
          done={t('admin.invitations.withdrawn')}
          onClose={() => setWithdrawing(null)}
        >
          {t('admin.invitations.withdrawHint')}
        </ConfirmChange>
      )}
    </>
  );
}

function useColumns(onWithdraw: (invitation: Invitation) => void): TableProps.ColumnDefinition<Invitation>[] {
  const { t } = useTranslation();
  const { when } = useFormat();
  return [
    {
      id: 'created',
      minWidth: 130,
      header: t('common.created'),
      cell: (invitation) => when(invitation.createdAt),
      isRowHeader: true,
    },
    {
      id: 'role',
      minWidth: 120,
      header: t('admin.role'),
      cell: (invitation) => t(`role.${invitation.role}`),
    },
    {
      id: 'email',
      minWidth: 160,
      header: t('admin.email'),
      cell: (invitation) => <span className="dth-break">{invitation.email || '-'}</span>,
    },
    {
      id: 'state',
      minWidth: 150,
      header: t('admin.invitations.state'),
      cell: (invitation) => <State invitation={invitation} />,
    },
    {
      id: 'expires',
      minWidth: 130,
      header: t('admin.invitations.expires'),
      cell: (invitation) => when(invitation.expiresAt),
    },
    {
      id: 'by',
      minWidth: 120,
      header: t('admin.invitations.by'),
      cell: (invitation) => invitation.createdBy,
    },
    {
      id: 'actions',
      header: t('common.actions'),
      cell: (invitation) =>
        invitation.state === 'OPEN' && (
          <Button
            variant="inline-link"
            ariaLabel={t('admin.invitations.withdrawOne', { when: when(invitation.createdAt) })}
            onClick={() => onWithdraw(invitation)}
          >
            {t('admin.invitations.withdraw')}
          </Button>
        ),
    },
  ];
}

function State({ invitation }: { invitation: Invitation }) {
  const { t } = useTranslation();
  return (
    <StatusIndicator type={SIGNS[invitation.state]}>
      {invitation.usedBy
        ? t('admin.invitations.usedBy', { name: invitation.usedBy })
        : t(`admin.invitations.states.${invitation.state}`)}
    </StatusIndicator>
  );
}

/** Makes an invitation, and shows its link this once: it goes with the dialog. */
export function Invite({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const [role, setRole] = useState<Role>('viewer');
  const [email, setEmail] = useState('');
  const [days, setDays] = useState('7');
  const [tried, setTried] = useState(false);
  const create = useChange(CreateInvitationDocument, [AdminInvitationsDocument]);

  const lasts = days.trim() ? Number(days) : null;
  const wrongDays = lasts !== null && !(lasts > 0 && lasts <= MOST_DAYS);

  function submit() {
    setTried(true);
    if (!wrongDays) create.mutate({ role, email: email.trim(), days: lasts });
  }

  if (create.data)
    return <NewInvitation url={create.data.createInvitation.url} role={role} onClose={onClose} />;
  return (
    <FormModal
      title={t('admin.invitations.invite')}
      action={t('admin.invitations.create')}
      busy={create.isPending}
      error={create.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <RoleField value={role} onChange={setRole} />
      <FormField
        label={<OptionalLabel text={t('admin.email')} />}
        description={t('admin.invitations.emailHint')}
      >
        <Input
          type="email"
          value={email}
          autoComplete={false}
          onChange={(event) => setEmail(event.detail.value)}
        />
      </FormField>
      <FormField
        label={t('admin.invitations.days')}
        constraintText={t('admin.invitations.daysHint', { most: MOST_DAYS })}
        errorText={tried && wrongDays ? t('admin.invitations.daysWrong', { most: MOST_DAYS }) : ''}
      >
        <Input
          type="number"
          inputMode="numeric"
          value={days}
          onChange={(event) => setDays(event.detail.value)}
        />
      </FormField>
    </FormModal>
  );
}

function NewInvitation({ url, role, onClose }: { url: string; role: Role; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <Modal
      visible
      header={t('admin.invitations.made')}
      closeAriaLabel={t('common.close')}
      onDismiss={onClose}
      footer={
        <Box float="right">
          <Button variant="primary" onClick={onClose}>
            {t('admin.tokens.kept')}
          </Button>
        </Box>
      }
    >
      <SpaceBetween size="l">
        <Alert type="warning">{t('admin.invitations.once', { role: t(`role.${role}`) })}</Alert>
        <FormField label={t('admin.invitations.link')} stretch>
          <Copyable text={url} />
        </FormField>
      </SpaceBetween>
    </Modal>
  );
}
