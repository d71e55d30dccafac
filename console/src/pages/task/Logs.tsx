import SpaceBetween from '@cloudscape-design/components/space-between';
import type { TabProps } from '../../plugins/types';
import { LogSearch } from './LogSearch';
import { LogViewer } from './LogViewer';
import { useShown } from './tab';
import type { Wanted } from './useLog';

/** The logs of all processes as one list, or of those that the address says. */
export function Logs({ task }: Pick<TabProps, 'task'>) {
  const [shown, change] = useShown();
  const given = (name: string) => shown.get(name) || null;
  const stream = given('stream');
  const isKind = stream?.endsWith('*');
  const wanted: Wanted = {
    logGroupName: task.logGroupName,
    logStreamName: isKind ? null : stream,
    logStreamNamePrefix: isKind && stream ? stream.slice(0, -1) : null,
    level: given('level') as Wanted['level'],
    search: given('search'),
    startTime: given('from'),
    endTime: given('to'),
  };
  return (
    <SpaceBetween size="m">
      <LogSearch group={task.logGroupName ?? ''} shown={shown} onChange={change} />
      <LogViewer key={JSON.stringify(wanted)} wanted={wanted} name={stream ?? `task-${task.id}`} />
    </SpaceBetween>
  );
}
