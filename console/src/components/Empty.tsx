import Box from '@cloudscape-design/components/box';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';

/** What a list shows that has nothing: a title, what would be here and how it comes, and the way to it. */
export function Empty(props: {
  title: string;
  hint?: string;
  action?: ReactNode;
  /** It is all that the page has. */
  heading?: boolean;
}) {
  const { title, hint, action, heading = false } = props;
  return (
    <Box textAlign="center" padding={{ vertical: 'l' }}>
      <SpaceBetween size="xs">
        <Box variant={heading ? 'h1' : 'strong'}>{title}</Box>
        {Boolean(hint) && (
          <Box variant="p" color="text-body-secondary">
            {hint}
          </Box>
        )}
        {action}
      </SpaceBetween>
    </Box>
  );
}
