import { useSearchParams } from 'react-router';
import type { ScheduleType, TaskOrder, TaskProgress, TasksQueryVariables } from '../../api/generated';
import { STATUSES } from '../../components/TaskStatus';

/** What of the list is shown. It stands in the address, so that it can be shared and come back to. */
export interface TaskListQuery {
  page: number;
  text: string;
  statuses: TaskProgress[];
  type: string;
  scheduleType: ScheduleType | '';
  /** Only tasks that wait for somebody, or could not copy everything. */
  attention: boolean;
  orderBy: TaskOrder;
  descending: boolean;
}

const SCHEDULES: readonly ScheduleType[] = ['ONE_TIME', 'FIXED_RATE'];
const ORDERS: readonly TaskOrder[] = ['created', 'updated', 'description', 'progress'];

const among = <T extends string>(allowed: readonly T[], value: string | null): T | undefined =>
  allowed.find((each) => each === value);

/** From an address that may be anybody's; what makes no sense in it is left out. `types`: the kinds of task there are. */
export function readQuery(address: URLSearchParams, types: readonly string[]): TaskListQuery {
  const page = Number(address.get('page') ?? 1);
  return {
    page: Number.isInteger(page) && page > 0 && page <= 1_000_000 ? page : 1,
    text: address.get('text') ?? '',
    statuses: (address.get('statuses') ?? '').split(',').flatMap((each) => among(STATUSES, each) ?? []),
    type: among(types, address.get('type')) ?? '',
    scheduleType: among(SCHEDULES, address.get('scheduleType')) ?? '',
    attention: address.get('attention') === 'true',
    orderBy: among(ORDERS, address.get('orderBy')) ?? 'created',
    descending: address.get('descending') !== 'false',
  };
}

/** Without what is as usual. */
export function writeQuery(query: TaskListQuery): URLSearchParams {
  const address = new URLSearchParams();
  if (query.page > 1) address.set('page', String(query.page));
  if (query.text) address.set('text', query.text);
  if (query.statuses.length) address.set('statuses', query.statuses.join(','));
  if (query.type) address.set('type', query.type);
  if (query.scheduleType) address.set('scheduleType', query.scheduleType);
  if (query.attention) address.set('attention', 'true');
  if (query.orderBy !== 'created') address.set('orderBy', query.orderBy);
  if (!query.descending) address.set('descending', 'false');
  return address;
}

export const isFiltered = (query: TaskListQuery) =>
  Boolean(query.text || query.statuses.length || query.type || query.scheduleType || query.attention);

export function variables(query: TaskListQuery, count: number): TasksQueryVariables {
  return {
    page: query.page,
    count,
    text: query.text || null,
    statuses: query.statuses.length ? query.statuses : null,
    type: (query.type as TasksQueryVariables['type']) || null,
    scheduleType: query.scheduleType || null,
    attention: query.attention,
    orderBy: query.orderBy,
    descending: query.descending,
  };
}

/** The query of this address, and a way to change it: a new filter leads back to the first page. */
export function useTaskListQuery(
  types: readonly string[],
): [TaskListQuery, (change: Partial<TaskListQuery>) => void] {
  const [address, setAddress] = useSearchParams();
  const query = readQuery(address, types);
  return [
    query,
    (change) => setAddress(writeQuery({ ...query, page: 1, ...change }), { replace: !change.page }),
  ];
}
