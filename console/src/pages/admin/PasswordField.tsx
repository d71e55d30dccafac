import Button from '@cloudscape-design/components/button';
import Checkbox from '@cloudscape-design/components/checkbox';
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';

export const LEAST = 12; // characters that the hub wants
const LENGTH = 20;
// Nobody mistakes one of these for another when it is read out.
const LETTERS = 'abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** About 116 random bits. */
export function randomPassword(): string {
  let password = '';
  while (password.length < LENGTH) {
    const [byte = 255] = crypto.getRandomValues(new Uint8Array(1));
    const at = byte % 64; // what is past the end is drawn again, or some letters would be likelier
    if (at < LETTERS.length) password += LETTERS[at];
  }
  return password;
}

/** A new password for somebody else: typed, or made and copied. */
export function PasswordField({
  value,
  tried,
  onChange,
}: {
  value: string;
  tried: boolean;
  onChange: (password: string) => void;
}) {
  const { t } = useTranslation();
  const [shown, setShown] = useState(false);
  return (
    <SpaceBetween size="xs">
      <FormField
        label={t('admin.users.password')}
        description={t('admin.users.passwordHint')}
        errorText={tried && value.length < LEAST ? t('admin.users.passwordShort', { count: LEAST }) : ''}
      >
        <Input
          type={shown ? 'text' : 'password'}
          autoComplete="new-password"
          spellcheck={false}
          value={value}
          onChange={(event) => onChange(event.detail.value)}
        />
      </FormField>
      <SpaceBetween direction="horizontal" size="s" alignItems="center">
        <Button
          formAction="none"
          onClick={() => {
            onChange(randomPassword());
            setShown(true);
          }}
        >
          {t('admin.users.generate')}
        </Button>
        <CopyToClipboard
          variant="button"
          disabled={!value}
          copyButtonText={t('common.copy')}
          textToCopy={value}
          copySuccessText={t('common.copied')}
          copyErrorText={t('common.copyFailed')}
        />
        <Checkbox checked={shown} onChange={(event) => setShown(event.detail.checked)}>
          {t('admin.users.show')}
        </Checkbox>
      </SpaceBetween>
    </SpaceBetween>
  );
}
