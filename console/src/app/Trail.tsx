import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { useMatches, useNavigate, useParams } from 'react-router';
import { TaskDetailDocument } from '../api/generated';
import { useData } from '../api/hooks';
import { LIVE } from '../components/TaskStatus';
import { taskName } from '../components/taskName';
import { printable } from '../components/visible';
import type { Handle } from './handle';

/** From home to here, which the title of the window says as well. Of a task that moves, how far it is comes first. */
export function Trail() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const matches = useMatches();
  const id = useParams().id ?? '';
  // The page asks the same, and again and again: its answers are these. Nothing of one task is shown of another.
  const found = useData(
    TaskDetailDocument,
    { id },
    { enabled: id !== '', retryOnMount: false, placeholderData: undefined },
  );
  const task = id ? found.data?.getTask : null;
  const crumbs = [{ text: t('common.title'), href: '/' }];
  for (const match of matches) {
    const handle = match.handle as Handle | undefined;
    if (!handle || handle.crumb === 'home') continue;
    const text = handle.crumb === 'task' ? (task ? printable(taskName(task)) : id) : t(`nav.${handle.crumb}`);
    crumbs.push({ text, href: match.pathname });
  }
  const percent = task?.progress && LIVE.includes(task.progress) ? task.progressInfo?.percent : null;
  const here = [
    ...(percent == null ? [] : [`${Math.floor(percent)}%`]),
    ...(crumbs.length > 1 ? [crumbs.at(-1)?.text] : []),
    t('common.title'),
  ].join(' - ');
  useEffect(() => {
    document.title = here;
  }, [here]);
  return (
    <BreadcrumbGroup
      ariaLabel={t('nav.crumbs')}
      items={crumbs}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(event.detail.href);
      }}
    />
  );
}
