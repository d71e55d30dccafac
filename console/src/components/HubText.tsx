import type { ReactNode } from 'react';

/** What the hub itself says. It speaks English, whatever the language of the page: screen readers then pronounce it so. */
export function HubText({ children }: { children: ReactNode }) {
  return (
    <span lang="en" className="dth-break">
      {children}
    </span>
  );
}
