import { createContext, useContext } from 'react';
import type { Role } from '../api/generated';

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

export interface Session {
  name: string;
  role: Role;
}

export const SessionContext = createContext<Session>({ name: '', role: 'viewer' });

/** Who is signed in. `may`: whether the role covers another; the hub checks it in any case. */
export function useSession() {
  const session = useContext(SessionContext);
  return { ...session, may: (role: Role) => RANK[session.role] >= RANK[role] };
}
