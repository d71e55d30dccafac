import { TaskRecordsDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { COLUMNS, USUAL, useRecordColumns } from './recordColumns';
import { Records, useRecordList } from './Records';
import type { TabProps } from '../../plugins/types';

/** The records of the task's objects. Those that failed are its dead letters. */
export function Objects({ task, plugin, poll }: TabProps) {
  const list = useRecordList('objects', USUAL);
  const columns = useRecordColumns();
  const records = useData(TaskRecordsDocument, { id: task.id, ...list.variables }, { refetchInterval: poll });
  return (
    <Records
      task={task}
      plugin={plugin}
      list={list}
      columns={columns}
      all={COLUMNS}
      records={records}
      page={records.data?.listRecords}
    />
  );
}
