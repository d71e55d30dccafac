import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Form from '@cloudscape-design/components/form';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useId, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { ErrorAlert } from './ErrorAlert';

/** A form in front of the page. What the hub says against it stands in it, and what was typed stays. */
export function FormModal(props: {
  title: string;
  action: string;
  busy: boolean;
  error: unknown;
  onSubmit: () => void;
  onDismiss: () => void;
  children: ReactNode;
}) {
  const { t } = useTranslation();
  const id = useId();
  return (
    <Modal
      visible
      header={props.title}
      closeAriaLabel={t('common.close')}
      onDismiss={props.onDismiss}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onDismiss}>
              {t('common.cancel')}
            </Button>
            <Button variant="primary" form={id} loading={props.busy} formAction="submit">
              {props.action}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        id={id}
        autoComplete="off"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (!props.busy) props.onSubmit();
        }}
      >
        <Form>
          <SpaceBetween size="l">
            {props.children}
            <ErrorAlert error={props.error} />
          </SpaceBetween>
        </Form>
      </form>
    </Modal>
  );
}
