import FormField from '@cloudscape-design/components/form-field';
import Textarea from '@cloudscape-design/components/textarea';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminSecretsDocument, BindSecretDocument, HomeDocument } from '../api/generated';
import { useChange } from '../api/hooks';
import { FormModal } from './FormModal';

/** Says with which hosts a secret may be used. */
export function BindForm({
  secret,
  onDone,
  onDismiss,
}: {
  secret: { name: string; hosts: string[] };
  onDone: () => void;
  onDismiss: () => void;
}) {
  const { t } = useTranslation();
  const [text, setText] = useState(secret.hosts.join('\n'));
  const bind = useChange(BindSecretDocument, [AdminSecretsDocument, HomeDocument]);

  async function submit() {
    const hosts = text.split(/[\s,]+/).filter((each) => each !== '');
    await bind.mutateAsync({ name: secret.name, hosts });
    onDone();
  }

  return (
    <FormModal
      title={t('admin.secrets.bindTitle', { name: secret.name })}
      action={t('common.save')}
      busy={bind.isPending}
      error={bind.error}
      onSubmit={() => void submit().catch(() => {})} // the form shows it
      onDismiss={onDismiss}
    >
      <FormField
        label={t('admin.secrets.hosts')}
        description={t('admin.secrets.bindHint')}
        constraintText={t('admin.secrets.hostsHint')}
      >
        <Textarea
          value={text}
          rows={4}
          autoComplete={false}
          spellcheck={false}
          onChange={(event) => setText(event.detail.value)}
        />
      </FormField>
    </FormModal>
  );
}
