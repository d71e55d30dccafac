import Button from '@cloudscape-design/components/button';
import { useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';

const LONG = 160; // characters: about two lines of a wide cell

/** A text of people or of stores: two lines of a long one, and the whole when it is asked for. `children`: how it is shown. */
export function Clamp({ text, children = text }: { text: string; children?: ReactNode }) {
  const { t } = useTranslation();
  const [whole, setWhole] = useState(false);
  if (text.length <= LONG) return <span className="dth-break">{children}</span>;
  return (
    <>
      <span className={whole ? 'dth-break' : 'dth-break dth-clamp'}>{children}</span>
      <Button variant="inline-link" ariaExpanded={whole} onClick={() => setWhole(!whole)}>
        {whole ? t('common.showLess') : t('common.showAll')}
      </Button>
    </>
  );
}
