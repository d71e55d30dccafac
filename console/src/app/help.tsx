import HelpPanel from '@cloudscape-design/components/help-panel';
import Link from '@cloudscape-design/components/link';
import { createContext, useContext, useMemo, useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { DOCUMENTATION, type Language } from '../i18n';

interface Topic {
  title: string;
  body: ReactNode;
}

interface Help {
  topic: Topic | null;
  open: boolean;
  setOpen: (open: boolean) => void;
  show: (topic: Topic) => void;
}

const HelpContext = createContext<Help>({ topic: null, open: false, setOpen: () => {}, show: () => {} });

/** What the panel at the right shows. */
export const useHelp = () => useContext(HelpContext);

export function HelpProvider({ children }: { children: ReactNode }) {
  const [topic, setTopic] = useState<Topic | null>(null);
  const [open, setOpen] = useState(false);
  const value = useMemo(
    () => ({
      topic,
      open,
      setOpen,
      show: (next: Topic) => {
        setTopic(next);
        setOpen(true);
      },
    }),
    [topic, open],
  );
  return <HelpContext value={value}>{children}</HelpContext>;
}

/** The link "Info" beside a label, which opens the panel with its topic. */
export function InfoLink({ title, body }: Topic) {
  const { t } = useTranslation();
  const { show } = useHelp();
  return (
    <Link
      variant="info"
      ariaLabel={t('common.infoAbout', { what: title })}
      onFollow={() => show({ title, body })}
    >
      {t('common.info')}
    </Link>
  );
}

export function Panel() {
  const { t, i18n } = useTranslation();
  const { topic } = useHelp();
  return (
    <HelpPanel
      header={<h2>{topic?.title ?? t('help.title')}</h2>}
      footer={
        <Link
          external
          href={DOCUMENTATION[i18n.language as Language]}
          externalIconAriaLabel={t('help.newTab')}
        >
          {t('help.documentation')}
        </Link>
      }
    >
      {topic ? topic.body : <p>{t('help.default')}</p>}
    </HelpPanel>
  );
}
