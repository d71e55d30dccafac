import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { TableProps } from '@cloudscape-design/components/table';
import Toggle from '@cloudscape-design/components/toggle';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminChannelsDocument,
  DeleteChannelDocument,
  PutChannelDocument,
  TestChannelDocument,
} from '../../api/generated';
import { useChange, useData } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { InfoLink } from '../../app/help';
import { Empty } from '../../components/Empty';
import { useErrorText } from '../../components/errorText';
import { useFormat } from '../../format';
import { type Channel, ChannelForm } from './ChannelForm';
import { ConfirmChange } from './ConfirmChange';
import { EVENTS, useEventName } from './events';
import { ListPage } from './ListPage';

type Open = { dialog: 'add' } | { dialog: 'edit' | 'delete'; channel: Channel };

/** The address of a webhook lets anybody post there: of it only the host is shown. */
export function shownTarget({ kind, target }: Pick<Channel, 'kind' | 'target'>): string {
  return kind === 'webhook' && URL.canParse(target) ? `${new URL(target).host}/…` : target;
}

const nameOf = (channel: Channel) => channel.name || shownTarget(channel);

/** Where the hub tells of what happened. */
export function Channels() {
  const { t } = useTranslation();
  const { data, error, refetch } = useData(AdminChannelsDocument, {}, { refetchInterval: 30_000 });
  const [open, setOpen] = useState<Open | null>(null);
  const columns = useColumns(setOpen);
  const close = () => setOpen(null);
  const add = (
    <Button variant="primary" onClick={() => setOpen({ dialog: 'add' })}>
      {t('admin.channels.add')}
    </Button>
  );

  return (
    <>
      <ListPage<Channel>
        title={t('nav.channels')}
        description={t('admin.channels.about')}
        info={<InfoLink title={t('nav.channels')} body={<Help />} />}
        actions={add}
        items={data?.listChannels}
        error={error}
        retry={() => void refetch()}
        idOf={(channel) => channel.id}
        textOf={(channel) => `${channel.name} ${shownTarget(channel)}`}
        columns={columns}
        empty={<Empty title={t('admin.channels.none')} hint={t('admin.channels.noneHint')} action={add} />}
      />
      {open?.dialog === 'add' && <ChannelForm onClose={close} />}
      {open?.dialog === 'edit' && <ChannelForm known={open.channel} onClose={close} />}
      {open?.dialog === 'delete' && (
        <ConfirmChange
          title={t('admin.channels.deleteTitle', { name: nameOf(open.channel) })}
          action={t('common.delete')}
          document={DeleteChannelDocument}
          variables={{ id: open.channel.id }}
          stale={[AdminChannelsDocument]}
          done={t('admin.deleted', { name: nameOf(open.channel) })}
          onClose={close}
        >
          {t('admin.channels.deleteHint')}
        </ConfirmChange>
      )}
    </>
  );
}

function useColumns(onOpen: (open: Open) => void): TableProps.ColumnDefinition<Channel>[] {
  const { t } = useTranslation();
  const eventName = useEventName();
  const list = new Intl.ListFormat(useFormat().locale);
  return [
    {
      id: 'name',
      minWidth: 150,
      header: t('common.name'),
      cell: (channel) => <span className="dth-break">{nameOf(channel)}</span>,
      sortingField: 'name',
      isRowHeader: true,
    },
    {
      id: 'kind',
      header: t('admin.channels.kind'),
      cell: ({ kind }) => t(kind === 'email' ? 'admin.email' : 'admin.channels.webhook'),
      sortingField: 'kind',
    },
    {
      id: 'target',
      minWidth: 160,
      header: t('admin.channels.target'),
      cell: (channel) => <span className="dth-break">{shownTarget(channel)}</span>,
    },
    {
      id: 'events',
      minWidth: 180,
      header: t('admin.channels.events'),
      cell: ({ events }) =>
        events.length ? list.format(events.map(eventName)) : t('admin.channels.allEvents'),
    },
    {
      id: 'enabled',
      header: t('admin.channels.enabled'),
      cell: (channel) => <Switch channel={channel} name={nameOf(channel)} />,
      sortingField: 'enabled',
    },
    {
      id: 'actions',
      header: t('common.actions'),
      cell: (channel) => (
        <SpaceBetween direction="horizontal" size="xs" alignItems="center">
          <TestButton channel={channel} name={nameOf(channel)} />
          <ButtonDropdown
            variant="inline-icon"
            expandToViewport
            ariaLabel={t('admin.actionsFor', { name: nameOf(channel) })}
            items={[
              { id: 'edit', text: t('common.edit') },
              { id: 'delete', text: t('common.delete') },
            ]}
            onItemClick={(event) => onOpen({ dialog: event.detail.id as 'edit' | 'delete', channel })}
          />
        </SpaceBetween>
      ),
    },
  ];
}

function Switch({ channel, name }: { channel: Channel; name: string }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const textOf = useErrorText();
  const put = useChange(PutChannelDocument, [AdminChannelsDocument]);
  return (
    <Toggle
      checked={put.isPending ? Boolean(put.variables.input.enabled) : channel.enabled}
      disabled={put.isPending}
      ariaLabel={t('admin.channels.enableOne', { name })}
      onChange={(event) =>
        put.mutate(
          { input: { ...channel, enabled: event.detail.checked } },
          { onError: (error) => flash({ type: 'error', content: textOf(error) }) },
        )
      }
    />
  );
}

function TestButton({ channel, name }: { channel: Channel; name: string }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const textOf = useErrorText();
  const test = useChange(TestChannelDocument, []);
  const failed = (line: string) =>
    flash({ type: 'error', header: t('admin.channels.testFailed', { name }), content: line });
  return (
    <Button
      variant="inline-link"
      loading={test.isPending}
      loadingText={t('admin.channels.testing')}
      ariaLabel={t('admin.channels.testOne', { name })}
      onClick={() =>
        test.mutate(
          { id: channel.id },
          {
            onSuccess: ({ testChannel: line }) =>
              line ? failed(line) : flash({ type: 'success', content: t('admin.channels.tested', { name }) }),
            onError: (error) => failed(textOf(error)),
          },
        )
      }
    >
      {t('admin.channels.test')}
    </Button>
  );
}

function Help() {
  const { t } = useTranslation();
  return (
    <>
      <p>{t('admin.channels.help')}</p>
      <p>{t('admin.channels.helpTask')}</p>
      <dl>
        {EVENTS.map((event) => (
          <div key={event}>
            <dt>{t(`admin.channels.event.${event}`)}</dt>
            <dd>{t(`admin.channels.eventHint.${event}`)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}
