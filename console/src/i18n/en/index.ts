import { byFolder } from '../plugins';
import admin from './admin.json';
import common from './common.json';
import compare from './compare.json';
import create from './create.json';
import detail from './detail.json';
import home from './home.json';
import stores from './stores.json';
import tasks from './tasks.json';

const plugins = import.meta.glob<object>('../../plugins/*/en.json', { eager: true, import: 'default' });

export const own = { ...common, admin, compare, create, detail, home, stores, tasks };
export default { ...own, ...byFolder(plugins) };
