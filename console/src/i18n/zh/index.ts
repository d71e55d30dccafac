import admin from './admin.json';
import common from './common.json';
import create from './create.json';
import detail from './detail.json';
import ecr from './ecr.json';
import home from './home.json';
import s3 from './s3.json';
import tasks from './tasks.json';

export default { ...common, admin, create, detail, ecr, home, s3, tasks };
