import type { Role } from '../api/generated';

/** What a page tells the shell of itself: its name in the trail, its help, and who may see it. */
export interface Handle {
  crumb:
    | 'home'
    | 'tasks'
    | 'create'
    | 'quick'
    | 'edit'
    | 'stores'
    | 'secrets'
    | 'users'
    | 'tokens'
    | 'channels'
    | 'settings'
    | 'audit'
    | 'task';
  role?: Role;
}
