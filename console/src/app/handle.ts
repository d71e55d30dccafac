import type { Role } from '../api/generated';

/** What a page tells the shell of itself: its name in the trail, its help, and who may see it. */
export interface Handle {
  crumb:
    | 'home'
    | 'tasks'
    | 'create'
    | 'quick'
    | 'edit'
    | 'comparisons'
    | 'compare'
    | 'comparison'
    | 'stores'
    | 'secrets'
    | 'users'
    | 'tokens'
    | 'channels'
    | 'signIn'
    | 'settings'
    | 'backups'
    | 'audit'
    | 'task';
  role?: Role;
}
