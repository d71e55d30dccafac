import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Select from '@cloudscape-design/components/select';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { AcknowledgeTaskDocument, WithdrawAcknowledgementDocument } from '../../api/generated';
import { useApi } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { useSession } from '../../app/session';
import { useErrorText } from '../../components/errorText';
import { FormModal } from '../../components/FormModal';
import { useFormat } from '../../format';
import type { Task } from '../../plugins/types';

const HOUR = 3_600_000; // milliseconds
/** For how long; `always`: only a new failure ends it. */
const SPANS = { always: 0, hour: HOUR, hours: 4 * HOUR, day: 24 * HOUR, week: 168 * HOUR };
type Chosen = keyof typeof SPANS;

/** Asks for how long a task is to be left out of what needs attention. */
export function AcknowledgeForm({ task, onDismiss }: { task: Task; onDismiss: () => void }) {
  const { t } = useTranslation();
  const api = useApi();
  const flash = useFlash();
  const queries = useQueryClient();
  const [chosen, setChosen] = useState<Chosen>('always');
  const options = (Object.keys(SPANS) as Chosen[]).map((value) => ({
    value,
    label: t(`detail.acknowledge.spans.${value}`),
  }));
  const send = useMutation({
    mutationFn: () =>
      api.request(AcknowledgeTaskDocument, {
        id: task.id,
        until: SPANS[chosen] ? new Date(Date.now() + SPANS[chosen]).toISOString() : null,
      }),
    onSuccess: async () => {
      flash({ type: 'success', content: t('detail.acknowledge.done') });
      onDismiss();
      await queries.invalidateQueries();
    },
  });
  return (
    <FormModal
      title={t('detail.acknowledge.title')}
      action={t('detail.acknowledge.action')}
      busy={send.isPending}
      error={send.error}
      onSubmit={() => send.mutate()}
      onDismiss={onDismiss}
    >
      <FormField label={t('detail.acknowledge.until')} description={t('detail.acknowledge.hint')} stretch>
        <Select
          options={options}
          selectedOption={options.find(({ value }) => value === chosen) ?? null}
          onChange={({ detail }) => setChosen(detail.selectedOption.value as Chosen)}
        />
      </FormField>
    </FormModal>
  );
}

/** Who knows what is wrong with the task; nothing where nobody said so. */
export function Acknowledged({ task }: { task: Task }) {
  const { t } = useTranslation();
  const { when } = useFormat();
  const { may } = useSession();
  const api = useApi();
  const flash = useFlash();
  const textOf = useErrorText();
  const queries = useQueryClient();
  const withdraw = useMutation({
    mutationFn: () => api.request(WithdrawAcknowledgementDocument, { id: task.id }),
    onSuccess: () => queries.invalidateQueries(),
    onError: (error) => flash({ type: 'error', content: textOf(error) }),
  });
  const known = task.acknowledged;
  if (!known) return null;
  return (
    <Box margin={{ top: 's' }}>
      <Alert
        action={
          may('operator') && (
            <Button loading={withdraw.isPending} onClick={() => withdraw.mutate()}>
              {t('detail.acknowledge.withdraw')}
            </Button>
          )
        }
      >
        {t('detail.acknowledge.by', { who: known.by, when: when(known.at) })}{' '}
        {known.until
          ? t('detail.acknowledge.holdsUntil', { when: when(known.until) })
          : t('detail.acknowledge.holds')}
      </Alert>
    </Box>
  );
}
