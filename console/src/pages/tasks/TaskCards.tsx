import Cards, { type CardsProps } from '@cloudscape-design/components/cards';
import { useTranslation } from 'react-i18next';
import type { TaskRowFragment } from '../../api/generated';
import { useCells, type Column } from './columns';

const LINES: readonly Column[] = ['status', 'way', 'recent', 'lastRun', 'nextRun'];

/** The list where there is no room for a table: what somebody wants to know on a phone. */
export function TaskCards({
  name,
  ...frame
}: Omit<CardsProps<TaskRowFragment>, 'cardDefinition'> & { name: (task: TaskRowFragment) => string }) {
  const { t } = useTranslation();
  const cells = useCells();
  return (
    <Cards
      {...frame}
      variant="full-page"
      selectionType="multi"
      cardDefinition={{
        header: cells.task,
        sections: LINES.map((column) => ({
          id: column,
          header: t(`tasks.columns.${column}`),
          content: cells[column],
          width: column === 'way' ? 100 : 50,
        })),
      }}
      ariaLabels={{
        cardsLabel: t('tasks.table'),
        selectionGroupLabel: t('tasks.selection'),
        itemSelectionLabel: (_, task) => name(task),
      }}
    />
  );
}
