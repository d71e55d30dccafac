// What the hub answers, for the tests of this folder.
import type { TaskDetailQuery, TaskRecordsQuery } from '../../api/generated';
import type { Answers } from '../../test/render';
import type { Counts, Run } from './ledger';
import { TaskDetail } from './TaskDetail';

export const ID = '11111111-2222-3333-4444-555555555555';
export const ROUTE = { path: '/tasks/:id', Component: TaskDetail };

const NONE: Counts = {
  listed: 0,
  filtered: 0,
  same: 0,
  archived: 0,
  pending: 0,
  enqueued: 0,
  unproven: 0,
  enqueued_bytes: 0,
  done: 0,
  failed: 0,
  cancelled: 0,
  done_bytes: 0,
  dest_listed: 0,
  extra: 0,
  restores: 0,
  delete_enqueued: 0,
  deleted: 0,
  delete_kept: 0,
  delete_failed: 0,
  verified_store: 0,
  verified_etag: 0,
  verified_source: 0,
  verified_content: 0,
  incomplete: 0,
};

export const run = ({
  counts,
  ...given
}: Partial<Omit<Run, 'counts'>> & { counts?: Partial<Counts> } = {}): Run => ({
  id: 1,
  kind: 'sync',
  state: 'DONE',
  startedAt: '2026-01-02T03:04:05.000Z',
  endedAt: '2026-01-02T03:05:05.000Z',
  error: '',
  notes: [],
  ...given,
  counts: { ...NONE, ...counts },
});

type Task = NonNullable<TaskDetailQuery['getTask']>;

export const task = (given: Partial<Task> = {}): Task => ({
  id: ID,
  description: 'The pictures',
  type: 'S3EC2',
  progress: 'IN_PROGRESS',
  reason: '',
  source: 's3://from',
  destination: 's3://to',
  scheduleType: 'ONE_TIME',
  schedule: 'once',
  scheduleTimeZone: null,
  nextRunAt: null,
  createdAt: '2026-01-02T03:04:05.000Z',
  createdBy: 'somebody',
  updatedAt: '2026-01-02T03:04:05.000Z',
  stoppedAt: null,
  spent: 0.5,
  phase: 'COPYING',
  waitsFor: '',
  isBeingDeleted: false,
  needsAttention: false,
  acknowledged: null,
  lastRun: null,
  recentRuns: [],
  progressInfo: {
    objects: 10,
    doneObjects: 5,
    percent: 50,
    failed: 1,
    run: 1,
    listing: false,
    totalBytes: 2048,
    doneBytes: 1024,
    rate: 512,
    eta: 90,
    workers: 2,
    waiting: 4,
    state: 'COPYING',
    note: null,
  },
  parameters: [
    { ParameterKey: 'srcBucket', ParameterValue: 'from' },
    { ParameterKey: 'maxBytesPerSecond', ParameterValue: '10M' },
  ],
  logGroupName: `/dth/tasks/${ID}`,
  stackId: null,
  stackName: null,
  stackStatus: null,
  stackStatusReason: null,
  stackOutputs: [],
  executionArn: null,
  ...given,
});

type ObjectRecord = TaskRecordsQuery['listRecords']['items'][number];

export const record = (given: Partial<ObjectRecord> = {}): ObjectRecord => ({
  key: 'a',
  status: 'FAILED',
  run: 1,
  etag: 'e',
  size: 3,
  destEtag: '',
  proof: '',
  verified: '',
  attempts: 5,
  reason: 'AccessDenied',
  detail: 'no',
  updatedAt: '2026-01-02T03:04:05.000Z',
  ...given,
});

export const ANSWERS: Answers = {
  TaskDetail: () => ({ getTask: task() }),
  TaskRuns: () => ({ listRuns: [run()] }),
  TaskMarkers: () => ({ listAudit: { items: [] } }),
  TaskLogStreams: () => ({
    listLogStreams: {
      logStreams: ['worker-1', 'worker-2', 'finder'].map((logStreamName) => ({
        logStreamName,
        lastEventTimestamp: '1767323045000',
        storedBytes: 10,
      })),
    },
  }),
  TaskFailures: () => ({ failureGroups: [] }),
};
