import Flashbar, { type FlashbarProps } from '@cloudscape-design/components/flashbar';
import { createContext, useContext, useMemo, useState, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';

type Message = Pick<FlashbarProps.MessageDefinition, 'type' | 'header' | 'content' | 'action'>;

const KEPT = 5;
const Push = createContext<(message: Message) => void>(() => {});
const Shown = createContext<FlashbarProps.MessageDefinition[]>([]);

/** Shows a message above the page; it stays until it is dismissed or pushed out by newer ones. */
export const useFlash = () => useContext(Push);

export function FlashProvider({ children }: { children: ReactNode }) {
  const [messages, setMessages] = useState<FlashbarProps.MessageDefinition[]>([]);
  const push = useMemo(
    () => (message: Message) => {
      const id = crypto.randomUUID();
      const dismiss = () => setMessages((all) => all.filter((each) => each.id !== id));
      setMessages((all) =>
        [
          {
            ...message,
            id,
            dismissible: true,
            onDismiss: dismiss,
            ariaRole: message.type === 'error' ? 'alert' : 'status',
          } as const,
          ...all,
        ].slice(0, KEPT),
      );
    },
    [],
  );
  return (
    <Push value={push}>
      <Shown value={messages}>{children}</Shown>
    </Push>
  );
}

export function Flashes() {
  const { t } = useTranslation();
  const messages = useContext(Shown);
  return (
    <Flashbar items={messages.map((each) => ({ ...each, dismissLabel: t('common.close') }))} stackItems />
  );
}
