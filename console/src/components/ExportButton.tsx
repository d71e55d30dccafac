import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useFlash } from '../app/flash';
import { useErrorText } from './errorText';
import { saveFile } from './saveFile';

const TYPES = { csv: 'text/csv', json: 'application/json' };

export type ExportFormat = keyof typeof TYPES;

/** Saves what `load` returns as the file `name`. `cut`: what to say if there is more than it returns. */
export function ExportButton({
  name,
  load,
  cut,
}: {
  name: string;
  load: (format: ExportFormat) => Promise<{ content: string; more: boolean }>;
  cut: string;
}) {
  const { t } = useTranslation();
  const flash = useFlash();
  const textOf = useErrorText();
  const [busy, setBusy] = useState(false);

  async function save(format: ExportFormat) {
    setBusy(true);
    try {
      const { content, more } = await load(format);
      saveFile(`${name}.${format}`, content, TYPES[format]);
      if (more) flash({ type: 'warning', content: cut });
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
    setBusy(false);
  }

  return (
    <ButtonDropdown
      loading={busy}
      items={[
        { id: 'csv', text: t('common.csv') },
        { id: 'json', text: t('common.json') },
      ]}
      onItemClick={({ detail }) => void save(detail.id as ExportFormat)}
    >
      {t('common.export')}
    </ButtonDropdown>
  );
}
