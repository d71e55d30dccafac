import Link, { type LinkProps } from '@cloudscape-design/components/link';
import type { ReactNode } from 'react';
import { useNavigate } from 'react-router';

/** A link within the console. */
export function TabLink({
  to,
  label,
  variant,
  children,
}: {
  to: string;
  label?: string;
  variant?: LinkProps.Variant;
  children: ReactNode;
}) {
  const navigate = useNavigate();
  return (
    <Link
      href={to}
      {...(variant ? { variant } : {})}
      {...(label ? { ariaLabel: label } : {})}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(to);
      }}
    >
      {children}
    </Link>
  );
}
