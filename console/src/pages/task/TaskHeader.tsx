import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Header from '@cloudscape-design/components/header';
import LiveRegion from '@cloudscape-design/components/live-region';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { ExportTaskDocument } from '../../api/generated';
import { useApi } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { useSession } from '../../app/session';
import { useErrorText } from '../../components/errorText';
import { ACTIONS, type Action, useTaskActions } from '../../components/taskActions';
import { TaskStatus } from '../../components/TaskStatus';
import { taskName } from '../../components/taskName';
import { printable } from '../../components/visible';
import { pretty, saveFile } from '../../components/saveFile';
import { pluginOf } from '../../plugins/registry';
import type { Task } from '../../plugins/types';
import { Acknowledged, AcknowledgeForm } from './Acknowledge';
import { useCompares } from '../compare/useCompares';

/** What a user most likely wants next: the first of these that the status allows. */
const FIRST: readonly Action[] = ['pause', 'resume', 'run'];

export function TaskHeader({ task }: { task: Task }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const api = useApi();
  const flash = useFlash();
  const textOf = useErrorText();
  const { may } = useSession();
  const actions = useTaskActions((action) => {
    if (action === 'delete') void navigate('/tasks');
  });
  const [acknowledges, setAcknowledges] = useState(false);
  const name = printable(taskName(task));
  const compares = useCompares() && Boolean(pluginOf(task.type).compares);
  const first = FIRST.find((action) => actions.can(action, [task]));

  async function download() {
    try {
      const { exportTask } = await api.request(ExportTaskDocument, { id: task.id });
      saveFile(`task-${task.id}.json`, pretty(exportTask));
    } catch (error) {
      flash({ type: 'error', content: textOf(error) });
    }
  }

  function chosen(item: string) {
    if (item === 'edit') void navigate(`/tasks/${task.id}/edit`);
    else if (item === 'clone') void navigate(`/tasks/create?clone=${task.id}`);
    else if (item === 'acknowledge') setAcknowledges(true);
    else if (item === 'export') void download();
    else if (item === 'compare') void navigate(`/comparisons/create?task=${task.id}`);
    else if (item === 'comparisons') void navigate(`/comparisons?task=${task.id}`);
    else actions.act(item as Action, [task]);
  }

  const buttons = may('operator') ? (
    <SpaceBetween direction="horizontal" size="xs">
      <ButtonDropdown
        loading={actions.busy}
        onItemClick={(event) => chosen(event.detail.id)}
        items={[
          { id: 'edit', text: t('action.edit') },
          { id: 'clone', text: t('action.clone') },
          { id: 'export', text: t('action.export') },
          ...(compares
            ? [
                { id: 'compare', text: t('compare.startTask') },
                { id: 'comparisons', text: t('nav.comparisons') },
              ]
            : []),
          {
            id: 'acknowledge',
            text: t('detail.acknowledge.action'),
            ...(task.needsAttention ? {} : { disabled: true, disabledReason: t('detail.acknowledge.none') }),
          },
          {
            text: t('common.actions'),
            items: ACTIONS.map((action) => actions.item(action, [task])),
          },
        ]}
      >
        {t('common.actions')}
      </ButtonDropdown>
      {first && (
        <Button variant="primary" loading={actions.busy} onClick={() => actions.act(first, [task])}>
          {t(`action.${first}`)}
        </Button>
      )}
    </SpaceBetween>
  ) : (
    <Button iconName="download" onClick={() => void download()}>
      {t('action.export')}
    </Button>
  );

  return (
    <>
      <Header
        variant="h1"
        actions={buttons}
        description={
          task.progress && (
            <TaskStatus
              progress={task.progress}
              phase={task.phase}
              reason={task.reason}
              failed={task.progressInfo?.failed}
              isBeingDeleted={task.isBeingDeleted}
            />
          )
        }
      >
        <span className="dth-break dth-clamp" title={name}>
          {name}
        </span>
      </Header>
      <LiveRegion hidden>
        {task.progress && t('detail.nowStatus', { status: t(`progress.${task.progress}`) })}
      </LiveRegion>
      {actions.dialog}
      {acknowledges && <AcknowledgeForm task={task} onDismiss={() => setAcknowledges(false)} />}
      <Acknowledged task={task} />
    </>
  );
}
