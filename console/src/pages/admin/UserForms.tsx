import Alert from '@cloudscape-design/components/alert';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminUsersDocument,
  CreateUserDocument,
  type Role,
  SetUserPasswordDocument,
  SetUserRoleDocument,
  WhoAmIDocument,
} from '../../api/generated';
import { useChange } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { FormModal } from '../../components/FormModal';
import { OptionalLabel } from '../../components/OptionalLabel';
import { LEAST, PasswordField } from './PasswordField';
import { RoleField } from './RoleField';

export function AddUser({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [tried, setTried] = useState(false);
  const create = useChange(CreateUserDocument, [AdminUsersDocument]);

  function submit() {
    setTried(true);
    if (!name.trim() || password.length < LEAST) return;
    create.mutate(
      { name: name.trim(), password, role, email: email.trim() },
      {
        onSuccess: (answer) => {
          onClose();
          flash({ type: 'success', content: t('admin.users.added', { name: answer.createUser.name }) });
        },
      },
    );
  }

  return (
    <FormModal
      title={t('admin.users.add')}
      action={t('admin.users.add')}
      busy={create.isPending}
      error={create.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <FormField
        label={t('common.name')}
        description={t('admin.users.nameHint')}
        errorText={tried && !name.trim() ? t('common.required') : ''}
      >
        <Input
          value={name}
          autoComplete={false}
          spellcheck={false}
          onChange={(event) => setName(event.detail.value)}
        />
      </FormField>
      <FormField label={<OptionalLabel text={t('admin.email')} />}>
        <Input
          type="email"
          value={email}
          autoComplete={false}
          onChange={(event) => setEmail(event.detail.value)}
        />
      </FormField>
      <RoleField value={role} onChange={setRole} />
      <PasswordField value={password} tried={tried} onChange={setPassword} />
    </FormModal>
  );
}

export function SetPassword({ name, own, onClose }: { name: string; own: boolean; onClose: () => void }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const [password, setPassword] = useState('');
  const [tried, setTried] = useState(false);
  const change = useChange(SetUserPasswordDocument, [AdminUsersDocument]);

  function submit() {
    setTried(true);
    if (password.length < LEAST) return;
    change.mutate(
      { name, password },
      {
        onSuccess: () => {
          onClose();
          flash({ type: 'success', content: t('admin.users.passwordSet', { name }) });
        },
      },
    );
  }

  return (
    <FormModal
      title={t('admin.users.passwordTitle', { name })}
      action={t('common.save')}
      busy={change.isPending}
      error={change.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <Alert type="info">{t(own ? 'admin.users.sessionsOwn' : 'admin.users.sessions')}</Alert>
      <PasswordField value={password} tried={tried} onChange={setPassword} />
    </FormModal>
  );
}

export function ChangeRole({
  user,
  own,
  onClose,
}: {
  user: { name: string; role: Role };
  own: boolean;
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const flash = useFlash();
  const [role, setRole] = useState(user.role);
  const change = useChange(SetUserRoleDocument, [AdminUsersDocument, WhoAmIDocument]);
  const submit = () =>
    change.mutate(
      { name: user.name, role },
      {
        onSuccess: () => {
          onClose();
          flash({
            type: 'success',
            content: t('admin.users.roleSet', { name: user.name, role: t(`role.${role}`) }),
          });
        },
      },
    );

  return (
    <FormModal
      title={t('admin.users.roleTitle', { name: user.name })}
      action={t('common.save')}
      busy={change.isPending}
      error={change.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <RoleField value={role} onChange={setRole} />
      {own && role !== 'admin' && <Alert type="warning">{t('admin.users.demoteSelf')}</Alert>}
    </FormModal>
  );
}
