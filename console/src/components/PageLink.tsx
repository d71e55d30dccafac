import Link, { type LinkProps } from '@cloudscape-design/components/link';
import type { ReactNode } from 'react';
import { useNavigate } from 'react-router';

/** A link to another page of the console: followed without a reload, and a real one for new tabs. */
export function PageLink({
  to,
  children,
  ...rest
}: { to: string; children: ReactNode } & Pick<LinkProps, 'ariaLabel' | 'variant' | 'fontSize'>) {
  const navigate = useNavigate();
  return (
    <Link
      {...rest}
      href={to}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(to);
      }}
    >
      {children}
    </Link>
  );
}
