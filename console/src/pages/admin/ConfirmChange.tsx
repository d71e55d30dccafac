import Box from '@cloudscape-design/components/box';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { TypedDocumentString } from '../../api/generated';
import { useChange } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { Confirm } from '../../components/Confirm';
import { ErrorAlert } from '../../components/ErrorAlert';

/** Asks, then changes. What the hub says against it stands in the dialog; `done` is told, or called, when it is through. */
export function ConfirmChange<R, V>(props: {
  title: string;
  children: ReactNode;
  action: string;
  document: TypedDocumentString<R, V>;
  variables: V;
  stale: { toString(): string }[];
  done: string | (() => void);
  onClose: () => void;
}) {
  const flash = useFlash();
  const change = useChange(props.document, props.stale);
  const onSuccess = () => {
    props.onClose();
    if (typeof props.done === 'string') flash({ type: 'success', content: props.done });
    else props.done();
  };
  return (
    <Confirm
      title={props.title}
      action={props.action}
      busy={change.isPending}
      onDismiss={props.onClose}
      onConfirm={() => change.mutate(props.variables, { onSuccess })}
    >
      <SpaceBetween size="m">
        <Box variant="p">{props.children}</Box>
        <ErrorAlert error={change.error} />
      </SpaceBetween>
    </Confirm>
  );
}
