import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Checkbox from '@cloudscape-design/components/checkbox';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import FormField from '@cloudscape-design/components/form-field';
import Modal from '@cloudscape-design/components/modal';
import RadioGroup from '@cloudscape-design/components/radio-group';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';

/** How a list is shown. */
export interface ListShown {
  pageSize: number;
  wrapLines: boolean;
  columns: readonly string[];
}

interface Props {
  shown: ListShown;
  sizes: readonly number[];
  /** Those that can be left out, as their names in `shown`, with their headers. */
  columns: readonly { id: string; label: string }[];
  onChange: (shown: ListShown) => void;
}

/**
 * The cog of a list, and what it opens. The design system's own preferences bring a library for dragging along, which
 * is a tenth of all that the console may weigh.
 */
export function ListPreferences(props: Props) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button
        variant="icon"
        iconName="settings"
        ariaLabel={t('preferences.title')}
        onClick={() => setOpen(true)}
      />
      {open && <Choice {...props} onClose={() => setOpen(false)} />}
    </>
  );
}

function Choice({ shown, sizes, columns, onChange, onClose }: Props & { onClose: () => void }) {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState(shown);
  const toggle = (id: string, on: boolean) =>
    setChosen({
      ...chosen,
      columns: on ? [...chosen.columns, id] : chosen.columns.filter((each) => each !== id),
    });
  return (
    <Modal
      visible
      header={t('preferences.title')}
      closeAriaLabel={t('common.close')}
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              {t('common.cancel')}
            </Button>
            <Button
              variant="primary"
              onClick={() => {
                onChange(chosen);
                onClose();
              }}
            >
              {t('preferences.confirm')}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <ColumnLayout columns={2}>
        <SpaceBetween size="l">
          <FormField label={t('preferences.pageSize')}>
            <RadioGroup
              value={String(chosen.pageSize)}
              items={sizes.map((count) => ({
                value: String(count),
                label: t('preferences.pageSizeOption', { count }),
              }))}
              onChange={({ detail }) => setChosen({ ...chosen, pageSize: Number(detail.value) })}
            />
          </FormField>
          <Checkbox
            checked={chosen.wrapLines}
            description={t('preferences.wrapHint')}
            onChange={({ detail }) => setChosen({ ...chosen, wrapLines: detail.checked })}
          >
            {t('preferences.wrap')}
          </Checkbox>
        </SpaceBetween>
        <FormField label={t('preferences.columns')}>
          <SpaceBetween size="xs">
            {columns.map(({ id, label }) => (
              <Checkbox
                key={id}
                checked={chosen.columns.includes(id)}
                onChange={({ detail }) => toggle(id, detail.checked)}
              >
                {label}
              </Checkbox>
            ))}
          </SpaceBetween>
        </FormField>
      </ColumnLayout>
    </Modal>
  );
}
