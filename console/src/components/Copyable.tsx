import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import { useTranslation } from 'react-i18next';

/** A text with a button beside it that copies it. `code`: as a block; `shown`: what of it is to be seen. */
export function Copyable({
  text,
  shown = text,
  code = false,
}: {
  text: string;
  shown?: string;
  code?: boolean;
}) {
  const { t } = useTranslation();
  const words = {
    textToCopy: text,
    copyButtonAriaLabel: t('common.copy'),
    copySuccessText: t('common.copied'),
    copyErrorText: t('common.copyFailed'),
  };
  if (!code) return <CopyToClipboard variant="inline" textToDisplay={shown} {...words} />;
  return (
    <div>
      <CopyToClipboard variant="button" copyButtonText={t('common.copy')} {...words} />
      {/* It scrolls, so that a keyboard must reach it. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className="dth-code" tabIndex={0}>
        {text}
      </pre>
    </div>
  );
}
