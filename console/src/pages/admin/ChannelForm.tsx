import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Multiselect from '@cloudscape-design/components/multiselect';
import RadioGroup from '@cloudscape-design/components/radio-group';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AdminChannelsDocument, type AdminChannelsQuery, PutChannelDocument } from '../../api/generated';
import { useChange } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { EVENTS, useEventName } from './events';
import { FormModal } from '../../components/FormModal';
import { OptionalLabel } from '../../components/OptionalLabel';

export type Channel = AdminChannelsQuery['listChannels'][number];

/** Adds a channel, or changes the `known` one. */
export function ChannelForm({ known, onClose }: { known?: Channel; onClose: () => void }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const eventName = useEventName();
  const [kind, setKind] = useState(known?.kind ?? 'webhook');
  const [target, setTarget] = useState(known?.target ?? '');
  const [name, setName] = useState(known?.name ?? '');
  const [events, setEvents] = useState<readonly string[]>(known?.events ?? []);
  const [tried, setTried] = useState(false);
  const put = useChange(PutChannelDocument, [AdminChannelsDocument]);
  const webhook = kind === 'webhook';

  function submit() {
    setTried(true);
    if (!target.trim()) return;
    put.mutate(
      {
        input: {
          ...(known && { id: known.id, enabled: known.enabled }),
          kind,
          target: target.trim(),
          name: name.trim(),
          events: [...events],
        },
      },
      {
        onSuccess: () => {
          onClose();
          flash({ type: 'success', content: t('admin.channels.saved') });
        },
      },
    );
  }

  const options = EVENTS.map((event) => ({
    value: event,
    label: eventName(event),
    description: t(`admin.channels.eventHint.${event}`),
  }));
  return (
    <FormModal
      title={known ? t('admin.channels.editTitle') : t('admin.channels.add')}
      action={known ? t('common.save') : t('admin.channels.add')}
      busy={put.isPending}
      error={put.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      <FormField label={t('admin.channels.kind')}>
        <RadioGroup
          value={kind}
          items={[
            {
              value: 'webhook',
              label: t('admin.channels.webhook'),
              description: t('admin.channels.webhookHint'),
            },
            { value: 'email', label: t('admin.email'), description: t('admin.channels.emailHint') },
          ]}
          onChange={(event) => setKind(event.detail.value)}
        />
      </FormField>
      <FormField
        label={t(webhook ? 'admin.channels.url' : 'admin.channels.address')}
        constraintText={webhook && t('admin.channels.urlHint')}
        errorText={tried && !target.trim() ? t('common.required') : ''}
      >
        <Input
          type={webhook ? 'url' : 'email'}
          value={target}
          autoComplete={false}
          spellcheck={false}
          placeholder={webhook ? 'https://hooks.example.org/services/T0/B0' : 'team@example.org'}
          onChange={(event) => setTarget(event.detail.value)}
        />
      </FormField>
      <FormField label={<OptionalLabel text={t('common.name')} />}>
        <Input value={name} autoComplete={false} onChange={(event) => setName(event.detail.value)} />
      </FormField>
      <FormField label={t('admin.channels.events')} description={t('admin.channels.eventsHint')}>
        <Multiselect
          selectedOptions={events.map((value) => ({ value, label: eventName(value) }))}
          options={options}
          placeholder={t('admin.channels.allEvents')}
          expandToViewport
          onChange={(event) => setEvents(event.detail.selectedOptions.map(({ value = '' }) => value))}
        />
      </FormField>
    </FormModal>
  );
}
