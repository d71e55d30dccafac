import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminTokensDocument, CreateTokenDocument, type Role } from '../../api/generated';
import { useChange } from '../../api/hooks';
import { Copyable } from '../../components/Copyable';
import { FormModal } from '../../components/FormModal';
import { RoleField } from './RoleField';

const MOST_DAYS = 3650;

/** Makes a token, and shows it this once: it is kept nowhere, and goes with the dialog. */
export function TokenForm({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [days, setDays] = useState('90');
  const [tried, setTried] = useState(false);
  const create = useChange(CreateTokenDocument, [AdminTokensDocument]);

  const lasts = days.trim() ? Number(days) : null;
  const wrongDays = lasts !== null && !(lasts > 0 && lasts <= MOST_DAYS);

  function submit() {
    setTried(true);
    if (name.trim() && !wrongDays) create.mutate({ name: name.trim(), role, days: lasts });
  }

  if (create.data) return <NewToken token={create.data.createToken.token} onClose={onClose} />;
  return (
    <FormModal
      title={t('admin.tokens.create')}
      action={t('common.create')}
      busy={create.isPending}
      error={create.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <FormField
        label={t('common.name')}
        description={t('admin.tokens.nameHint')}
        errorText={tried && !name.trim() ? t('common.required') : ''}
      >
        <Input value={name} autoComplete={false} onChange={(event) => setName(event.detail.value)} />
      </FormField>
      <RoleField value={role} onChange={setRole} />
      <FormField
        label={t('admin.tokens.days')}
        constraintText={t('admin.tokens.daysHint')}
        errorText={tried && wrongDays ? t('admin.tokens.daysWrong', { most: MOST_DAYS }) : ''}
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

function NewToken({ token, onClose }: { token: string; onClose: () => void }) {
  const { t } = useTranslation();
  const environment = `export DTH_HUB=${location.origin}\nexport DTH_TOKEN=${token}\ndth task list`;
  return (
    <Modal
      visible
      header={t('admin.tokens.made')}
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
        <Alert type="warning">{t('admin.tokens.once')}</Alert>
        <FormField label={t('admin.tokens.token')} stretch>
          <Copyable text={token} />
        </FormField>
        <FormField label={t('admin.tokens.use')} stretch>
          <Copyable text={environment} code />
        </FormField>
      </SpaceBetween>
    </Modal>
  );
}
