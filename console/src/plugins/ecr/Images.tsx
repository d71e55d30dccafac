import { useState } from 'react';
import { TaskImagesDocument } from '../../api/generated';
import { useData } from '../../api/hooks';
import { ImageHistory } from './ImageHistory';
import { COLUMNS, USUAL, useImageColumns } from './imageColumns';
import { Records, useRecordList } from '../../pages/task/Records';
import type { TabProps } from '../types';

/** What runs did with the task's images: each as it is now, or those of one run; and the history of one. */
export function Images({ task, plugin, poll }: TabProps) {
  const [shown, show] = useState('');
  const list = useRecordList('images', USUAL);
  const columns = useImageColumns(show);
  const images = useData(TaskImagesDocument, { id: task.id, ...list.variables }, { refetchInterval: poll });
  return (
    <>
      <Records
        task={task}
        plugin={plugin}
        list={list}
        columns={columns}
        all={COLUMNS}
        records={images}
        page={images.data?.listImages}
      />
      {shown && <ImageHistory id={task.id} name={shown} onDismiss={() => show('')} />}
    </>
  );
}
