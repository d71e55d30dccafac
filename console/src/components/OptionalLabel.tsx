import { useTranslation } from 'react-i18next';

export function OptionalLabel({ text }: { text: string }) {
  const { t } = useTranslation();
  return (
    <>
      {text} - <i>{t('common.optional')}</i>
    </>
  );
}
