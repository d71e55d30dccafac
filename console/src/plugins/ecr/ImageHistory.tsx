import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useTranslation } from 'react-i18next';
import { TaskImageHistoryDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { ErrorAlert } from '../../components/ErrorAlert';
import { useImageColumns } from './imageColumns';

const SHOWN = [
  'run',
  'updated',
  'status',
  'moved',
  'seconds',
  'attempts',
  'sourceDigest',
  'destDigest',
  'detail',
];

/** What all runs did with one image, the newest first. */
export function ImageHistory({ id, name, onDismiss }: { id: string; name: string; onDismiss: () => void }) {
  const { t } = useTranslation();
  const history = useData(TaskImageHistoryDocument, { id, key: name });
  const columns = useImageColumns();
  return (
    <Modal
      visible
      size="max"
      header={<span className="dth-break">{t('ecr.images.historyOf', { key: name })}</span>}
      onDismiss={onDismiss}
      footer={
        <Box float="right">
          <Button onClick={onDismiss}>{t('ecr.images.close')}</Button>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <ErrorAlert error={history.error} retry={() => void history.refetch()} />
        <Table
          variant="embedded"
          wrapLines
          loading={history.isPending}
          loadingText={t('common.loading')}
          items={history.data?.imageHistory ?? []}
          trackBy={(image) => String(image.run)}
          columnDefinitions={columns}
          columnDisplay={SHOWN.map((column) => ({ id: column, visible: true }))}
          ariaLabels={{ tableLabel: t('ecr.images.history') }}
        />
      </SpaceBetween>
    </Modal>
  );
}
