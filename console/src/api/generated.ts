// Made by scripts/codegen.mjs from the hub's schema and src/api/operations.
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
export type TaskPhase =
  | 'STARTING'
  | 'LISTING'
  /** With `verifyAfter` each copy is read back at once, before the next one begins in its place: no phase of its own. */
  | 'COPYING'
  /** Mirror mode takes away what the source no longer has. */
  | 'DELETING'
  /** Nothing moves: Task.waitsFor says why. */
  | 'WAITING'
  | 'PAUSED'
  | 'STOPPING'
  | 'STOPPED'
  | 'DONE'
  | 'ERROR';

export type RunResult =
  /** What was to be copied was. */
  | 'DONE'
  /** Some of it failed. */
  | 'INCOMPLETE'
  /** There was nothing at the source. */
  | 'EMPTY'
  /** The run itself failed: a listing, or an endpoint. */
  | 'FAILED';

export type TaskParameterInput = {
  ParameterKey?: string | null | undefined;
  ParameterValue?: string | null | undefined;
};

export type CreateTaskInput = {
  type: TaskType;
  description?: string | null | undefined;
  scheduleType?: ScheduleType | null | undefined;
  parameters?: Array<TaskParameterInput | null | undefined> | null | undefined;
  /** With an id (a UUID of the caller's), the same call again is the same task. */
  id?: string | number | null | undefined;
};

export type EditTaskInput = {
  description?: string | null | undefined;
  scheduleType?: ScheduleType | null | undefined;
  parameters?: Array<TaskParameterInput | null | undefined> | null | undefined;
};

export type TaskType =
  | 'S3EC2'
  | 'ECR';

export type ScheduleType =
  | 'ONE_TIME'
  | 'FIXED_RATE';

export type TaskProgress =
  | 'STARTING'
  | 'STOPPING'
  | 'ERROR'
  | 'IN_PROGRESS'
  | 'DONE'
  | 'STOPPED'
  | 'PAUSED';

export type TaskOrder =
  | 'created'
  | 'updated'
  | 'description'
  | 'progress';

export type TaskErrorCode =
  | 'CFN_ERROR'
  | 'FINDER_ERROR'
  | 'COMPLETE_CHECK_ERROR'
  | 'UN_KNOWN';

export type RecordStatus =
  | 'PENDING'
  | 'DONE'
  | 'FAILED'
  | 'CANCELLED';

export type ComparisonState =
  | 'RUNNING'
  | 'DONE'
  | 'FAILED'
  | 'CANCELLED'
  /** The hub ended while it ran. */
  | 'INTERRUPTED';

export type ComparisonVerdict =
  | 'SAME'
  /** The same, but of some objects only size or time was compared. */
  | 'UNPROVEN'
  | 'DIFFERENT'
  /** No difference was found, but some objects could not be compared. */
  | 'UNDECIDED'
  /** There was nothing to compare. */
  | 'EMPTY';

export type FindingState =
  | 'SAME'
  /** The same by size or time; what the policy asks for was not compared. */
  | 'UNPROVEN'
  | 'MISSING'
  | 'DIFFERENT'
  /** Only at the destination. */
  | 'EXTRA'
  /** Missing or different, and archived at the source. */
  | 'ARCHIVED'
  /** On both sides, but it could not be compared as the policy asks. */
  | 'UNVERIFIED'
  /** A side refused it. */
  | 'UNREADABLE';

export type Side =
  | 'SOURCE'
  | 'DESTINATION';

export type LogLevel =
  | 'DEBUG'
  | 'INFO'
  | 'WARNING'
  | 'ERROR';

export type StoreInput = {
  kind?: string | null | undefined;
  endpoint?: string | null | undefined;
  region?: string | null | undefined;
  secret?: string | null | undefined;
  profile?: string | null | undefined;
  roleArn?: string | null | undefined;
  externalId?: string | null | undefined;
  addressingStyle?: string | null | undefined;
  caBundle?: string | null | undefined;
  proxy?: string | null | undefined;
  checksumMode?: string | null | undefined;
  anonymous?: boolean | null | undefined;
  description?: string | null | undefined;
};

export type Role =
  | 'viewer'
  | 'operator'
  | 'admin';

export type InvitationState =
  | 'OPEN'
  | 'USED'
  | 'WITHDRAWN'
  | 'EXPIRED';

export type ChannelInput = {
  id?: string | number | null | undefined;
  /** email or webhook. */
  kind: string;
  target: string;
  name?: string | null | undefined;
  events?: Array<string> | null | undefined;
  enabled?: boolean | null | undefined;
};

export type RestoreState =
  | 'UPLOADING'
  | 'CHECKING'
  | 'FAILED'
  /** It takes the place of the hub's data at the next start. */
  | 'WAITING';

export type SignInSource =
  /** The hub's own sign-in. */
  | 'BUILT_IN'
  /** Set with `saveIssuer` and `confirmIssuer`. */
  | 'SET_HERE'
  /** Set in the settings file of the hub's machine, and changed only there. */
  | 'FILE';

export type GroupRoleInput = {
  group: string;
  role: Role;
};

export type IssuerInput = {
  issuer: string;
  clientId: string;
  audience?: string | null | undefined;
  scope?: string | null | undefined;
  roleClaim?: string | null | undefined;
  roles?: Array<GroupRoleInput> | null | undefined;
  defaultRole?: Role | null | undefined;
  caBundle?: string | null | undefined;
};

export type IssuerCheckName =
  | 'REACHABLE'
  | 'ISSUER'
  | 'ENDPOINTS'
  | 'PKCE'
  | 'KEYS';

export type CheckState =
  | 'OK'
  | 'WARNING'
  | 'FAILED'
  | 'UNKNOWN';

export type TaskRowFragment = { id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, phase: TaskPhase | null, waitsFor: string | null, isBeingDeleted: boolean, needsAttention: boolean, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, scheduleTimeZone: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, acknowledged: { by: string, at: string | null, until: string | null } | null, lastRun: { id: number, result: RunResult, endedAt: string | null, seconds: number } | null, recentRuns: Array<{ id: number, result: RunResult, endedAt: string | null, seconds: number }>, progressInfo: { objects: number | null, doneObjects: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, percent: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null, state: string | null, note: string | null } | null };

export type AdminSecretsQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminSecretsQuery = { listSecrets: Array<{ name: string, description: string | null, updatedAt: string | null, hosts: Array<string> } | null> | null };

export type StoreSecretMutationVariables = Exact<{
  name: string;
  value: string;
  description?: string | null | undefined;
}>;


export type StoreSecretMutation = { createSecret: { name: string } };

export type ChangeSecretMutationVariables = Exact<{
  name: string;
  value?: string | null | undefined;
  description?: string | null | undefined;
}>;


export type ChangeSecretMutation = { updateSecret: { name: string } };

export type BindSecretMutationVariables = Exact<{
  name: string;
  hosts: Array<string> | string;
}>;


export type BindSecretMutation = { bindSecret: { name: string } };

export type DeleteSecretMutationVariables = Exact<{
  name: string;
}>;


export type DeleteSecretMutation = { deleteSecret: { name: string } };

export type AdminHubQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminHubQuery = { hubInfo: { version: string, platform: string, issuer: string, users: number | null, plugins: Array<string>, limits: string, backsUp: boolean, invites: boolean, setsSignIn: boolean, certificateKey: string } };

export type AdminUsersQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminUsersQuery = { listUsers: Array<{ name: string, role: Role, email: string, createdAt: string | null, lastLoginAt: string | null, mustChangePassword: boolean }> };

export type CreateUserMutationVariables = Exact<{
  name: string;
  password: string;
  role: Role;
  email?: string | null | undefined;
}>;


export type CreateUserMutation = { createUser: { name: string } };

export type SetUserPasswordMutationVariables = Exact<{
  name: string;
  password: string;
}>;


export type SetUserPasswordMutation = { setUserPassword: boolean };

export type SetUserRoleMutationVariables = Exact<{
  name: string;
  role: Role;
}>;


export type SetUserRoleMutation = { setUserRole: { name: string, role: Role } };

export type DeleteUserMutationVariables = Exact<{
  name: string;
}>;


export type DeleteUserMutation = { deleteUser: boolean };

export type AdminTokensQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminTokensQuery = { listTokens: Array<{ id: string, name: string, role: Role, createdAt: string | null, expiresAt: string | null, lastUsedAt: string | null, createdBy: string }> };

export type CreateTokenMutationVariables = Exact<{
  name: string;
  role: Role;
  days?: number | null | undefined;
}>;


export type CreateTokenMutation = { createToken: { token: string, info: { id: string, name: string } } };

export type RevokeTokenMutationVariables = Exact<{
  id: string | number;
}>;


export type RevokeTokenMutation = { revokeToken: boolean };

export type AdminChannelsQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminChannelsQuery = { listChannels: Array<{ id: string, kind: string, target: string, name: string, events: Array<string>, enabled: boolean }> };

export type PutChannelMutationVariables = Exact<{
  input: ChannelInput;
}>;


export type PutChannelMutation = { putChannel: { id: string, enabled: boolean } };

export type DeleteChannelMutationVariables = Exact<{
  id: string | number;
}>;


export type DeleteChannelMutation = { deleteChannel: boolean };

export type TestChannelMutationVariables = Exact<{
  id: string | number;
}>;


export type TestChannelMutation = { testChannel: string };

export type AdminAuditQueryVariables = Exact<{
  who?: string | null | undefined;
  target?: string | null | undefined;
  what?: Array<string> | string | null | undefined;
  since?: string | null | undefined;
  until?: string | null | undefined;
  page?: number | null | undefined;
  count?: number | null | undefined;
}>;


export type AdminAuditQuery = { listAudit: { total: number, items: Array<{ id: number, at: string | null, who: string, via: string, what: string, target: string, detail: string, outcome: string }> } };

export type AdminBackupsQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminBackupsQuery = { listAudit: { items: Array<{ id: number, at: string | null, who: string, via: string, what: string, target: string, outcome: string }> } };

export type AdminRestoreQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminRestoreQuery = { getRestore: { id: string, state: RestoreState, error: string, tasks: number, users: number, newestAt: string | null, leftOut: Array<string> } | null };

export type CreateBackupLinkMutationVariables = Exact<{ [key: string]: never; }>;


export type CreateBackupLinkMutation = { createBackupLink: { url: string } };

export type BeginRestoreMutationVariables = Exact<{ [key: string]: never; }>;


export type BeginRestoreMutation = { beginRestore: { id: string } };

export type CheckRestoreMutationVariables = Exact<{
  id: string | number;
}>;


export type CheckRestoreMutation = { checkRestore: { id: string } };

export type DiscardRestoreMutationVariables = Exact<{
  id: string | number;
}>;


export type DiscardRestoreMutation = { discardRestore: boolean };

export type AdminInvitationsQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminInvitationsQuery = { listInvitations: Array<{ id: string, role: Role, email: string, createdAt: string | null, createdBy: string, expiresAt: string | null, state: InvitationState, usedBy: string }> };

export type CreateInvitationMutationVariables = Exact<{
  role: Role;
  email?: string | null | undefined;
  days?: number | null | undefined;
}>;


export type CreateInvitationMutation = { createInvitation: { id: string, url: string, expiresAt: string | null } };

export type WithdrawInvitationMutationVariables = Exact<{
  id: string | number;
}>;


export type WithdrawInvitationMutation = { withdrawInvitation: boolean };

export type IssuerPartsFragment = { issuer: string, clientId: string, audience: string, scope: string, roleClaim: string, defaultRole: Role | null, caBundle: string, roles: Array<{ group: string, role: Role }> };

export type SignInPartsFragment = { source: SignInSource, overridden: boolean, issuer: { issuer: string, clientId: string, audience: string, scope: string, roleClaim: string, defaultRole: Role | null, caBundle: string, roles: Array<{ group: string, role: Role }> } | null, waiting: { issuer: string, clientId: string, audience: string, scope: string, roleClaim: string, defaultRole: Role | null, caBundle: string, roles: Array<{ group: string, role: Role }> } | null };

export type AdminSignInQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminSignInQuery = { getSignIn: { source: SignInSource, overridden: boolean, issuer: { issuer: string, clientId: string, audience: string, scope: string, roleClaim: string, defaultRole: Role | null, caBundle: string, roles: Array<{ group: string, role: Role }> } | null, waiting: { issuer: string, clientId: string, audience: string, scope: string, roleClaim: string, defaultRole: Role | null, caBundle: string, roles: Array<{ group: string, role: Role }> } | null } };

export type TestIssuerQueryVariables = Exact<{
  input: IssuerInput;
}>;


export type TestIssuerQuery = { testIssuer: Array<{ name: IssuerCheckName, state: CheckState, found: string }> };

export type SaveIssuerMutationVariables = Exact<{
  input: IssuerInput;
}>;


export type SaveIssuerMutation = { saveIssuer: { id: string } };

export type ConfirmIssuerMutationVariables = Exact<{
  token: string;
}>;


export type ConfirmIssuerMutation = { confirmIssuer: { id: string } };

export type DiscardIssuerMutationVariables = Exact<{ [key: string]: never; }>;


export type DiscardIssuerMutation = { discardIssuer: { id: string } };

export type UseBuiltInSignInMutationVariables = Exact<{ [key: string]: never; }>;


export type UseBuiltInSignInMutation = { useBuiltInSignIn: { id: string } };

export type ComparisonRowFragment = { id: string, task: string, type: TaskType | null, source: string, destination: string, policy: string, sample: number, createdBy: string, state: ComparisonState, verdict: ComparisonVerdict | null, startedAt: string | null, endedAt: string | null, error: string, notes: Array<string>, filtered: number, counts: Array<{ state: FindingState, objects: number, bytes: number }> };

export type ComparisonsQueryVariables = Exact<{
  task?: string | number | null | undefined;
  count?: number | null | undefined;
}>;


export type ComparisonsQuery = { hubInfo: { compares: boolean }, listComparisons: Array<{ id: string, task: string, type: TaskType | null, source: string, destination: string, policy: string, sample: number, createdBy: string, state: ComparisonState, verdict: ComparisonVerdict | null, startedAt: string | null, endedAt: string | null, error: string, notes: Array<string>, filtered: number, counts: Array<{ state: FindingState, objects: number, bytes: number }> }> };

export type ComparisonHubQueryVariables = Exact<{ [key: string]: never; }>;


export type ComparisonHubQuery = { hubInfo: { compares: boolean } };

export type ComparisonDetailQueryVariables = Exact<{
  id: string | number;
}>;


export type ComparisonDetailQuery = { getComparison: { id: string, task: string, type: TaskType | null, source: string, destination: string, policy: string, sample: number, createdBy: string, state: ComparisonState, verdict: ComparisonVerdict | null, startedAt: string | null, endedAt: string | null, error: string, notes: Array<string>, filtered: number, counts: Array<{ state: FindingState, objects: number, bytes: number }> } };

export type ComparedFoldersQueryVariables = Exact<{
  id: string | number;
  path?: string | null | undefined;
}>;


export type ComparedFoldersQuery = { listComparedFolders: Array<{ path: string, folders: boolean, counts: Array<{ state: FindingState, objects: number, bytes: number }> }> };

export type FindingsQueryVariables = Exact<{
  id: string | number;
  states?: Array<FindingState> | FindingState | null | undefined;
  prefix?: string | null | undefined;
  limit?: number | null | undefined;
  nextToken?: string | null | undefined;
}>;


export type FindingsQuery = { listFindings: { nextToken: string | null, items: Array<{ key: string, state: FindingState, size: number | null, destSize: number | null, etag: string, reason: string }> } };

export type ComparisonCertificateQueryVariables = Exact<{
  id: string | number;
}>;


export type ComparisonCertificateQuery = { getComparisonCertificate: string };

export type ComparisonTaskQueryVariables = Exact<{
  id: string | number;
}>;


export type ComparisonTaskQuery = { getTask: { id: string, type: TaskType | null, description: string | null, source: string | null, destination: string | null } | null };

export type CompareMutationVariables = Exact<{
  task?: string | number | null | undefined;
  input?: CreateTaskInput | null | undefined;
  policy?: string | null | undefined;
  sample?: number | null | undefined;
}>;


export type CompareMutation = { compare: { id: string } };

export type CancelComparisonMutationVariables = Exact<{
  id: string | number;
}>;


export type CancelComparisonMutation = { cancelComparison: { id: string, state: ComparisonState } };

export type DeleteComparisonMutationVariables = Exact<{
  id: string | number;
}>;


export type DeleteComparisonMutation = { deleteComparison: { id: string } };

export type CopyFindingsMutationVariables = Exact<{
  id: string | number;
  states?: Array<FindingState> | FindingState | null | undefined;
  prefix?: string | null | undefined;
  keys?: Array<string> | string | null | undefined;
}>;


export type CopyFindingsMutation = { copyFindings: { id: string } | null };

export type CreateHubQueryVariables = Exact<{ [key: string]: never; }>;


export type CreateHubQuery = { hubInfo: { platform: string, plugins: Array<string> } };

export type FormParametersQueryVariables = Exact<{
  type: TaskType;
}>;


export type FormParametersQuery = { listTaskParameters: Array<{ name: string, label: string, group: string, help: string, kind: string, default: string, allowed: Array<string>, option: string, minimum: number | null, maximum: number | null, size: boolean, required: boolean }> };

export type FormTaskQueryVariables = Exact<{
  id: string | number;
}>;


export type FormTaskQuery = { getTask: { id: string, type: TaskType | null, description: string | null, scheduleType: ScheduleType | null, parameters: Array<{ ParameterKey: string | null, ParameterValue: string | null } | null> | null } | null };

export type JobResultQueryVariables = Exact<{
  id: string | number;
}>;


export type JobResultQuery = { getJob: { id: string, state: string, error: string, result: string } };

export type CreateTaskMutationVariables = Exact<{
  input: CreateTaskInput;
}>;


export type CreateTaskMutation = { createTask: { id: string } | null };

export type EditTaskMutationVariables = Exact<{
  id: string | number;
  input: EditTaskInput;
}>;


export type EditTaskMutation = { editTask: { id: string } | null };

export type PreflightMutationVariables = Exact<{
  input: CreateTaskInput;
}>;


export type PreflightMutation = { job: { id: string } };

export type ForecastMutationVariables = Exact<{
  input: CreateTaskInput;
}>;


export type ForecastMutation = { job: { id: string } };

export type TestConnectionMutationVariables = Exact<{
  input: CreateTaskInput;
  side: Side;
}>;


export type TestConnectionMutation = { job: { id: string } };

export type TaskDetailQueryVariables = Exact<{
  id: string | number;
}>;


export type TaskDetailQuery = { getTask: { logGroupName: string | null, stackId: string | null, stackName: string | null, stackStatus: string | null, stackStatusReason: string | null, executionArn: string | null, id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, phase: TaskPhase | null, waitsFor: string | null, isBeingDeleted: boolean, needsAttention: boolean, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, scheduleTimeZone: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, parameters: Array<{ ParameterKey: string | null, ParameterValue: string | null } | null> | null, stackOutputs: Array<{ Description: string | null, OutputKey: string | null, OutputValue: string | null } | null> | null, acknowledged: { by: string, at: string | null, until: string | null } | null, lastRun: { id: number, result: RunResult, endedAt: string | null, seconds: number } | null, recentRuns: Array<{ id: number, result: RunResult, endedAt: string | null, seconds: number }>, progressInfo: { objects: number | null, doneObjects: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, percent: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null, state: string | null, note: string | null } | null } | null };

export type TaskErrorQueryVariables = Exact<{
  id: string;
}>;


export type TaskErrorQuery = { getErrorMessage: { errCode: TaskErrorCode | null } | null };

export type LedgerFragment = { listed: number, filtered: number, same: number, archived: number, pending: number, enqueued: number, unproven: number, enqueued_bytes: number, done: number, failed: number, cancelled: number, done_bytes: number, dest_listed: number, extra: number, restores: number, delete_enqueued: number, deleted: number, delete_kept: number, delete_failed: number, verified_store: number, verified_etag: number, verified_source: number, verified_content: number, incomplete: number };

export type TaskRunsQueryVariables = Exact<{
  id: string | number;
  count?: number | null | undefined;
}>;


export type TaskRunsQuery = { listRuns: Array<{ id: number, kind: string, state: string, startedAt: string | null, endedAt: string | null, error: string, notes: Array<string>, counts: { listed: number, filtered: number, same: number, archived: number, pending: number, enqueued: number, unproven: number, enqueued_bytes: number, done: number, failed: number, cancelled: number, done_bytes: number, dest_listed: number, extra: number, restores: number, delete_enqueued: number, deleted: number, delete_kept: number, delete_failed: number, verified_store: number, verified_etag: number, verified_source: number, verified_content: number, incomplete: number } }> };

export type TaskFailuresQueryVariables = Exact<{
  id: string | number;
}>;


export type TaskFailuresQuery = { failureGroups: Array<{ reason: string, count: number, detail: string, keys: Array<string>, more: boolean, advice: string }> };

export type TaskRecordsQueryVariables = Exact<{
  id: string | number;
  status?: RecordStatus | null | undefined;
  prefix?: string | null | undefined;
  reason?: string | null | undefined;
  run?: number | null | undefined;
  limit?: number | null | undefined;
  nextToken?: string | null | undefined;
}>;


export type TaskRecordsQuery = { listRecords: { nextToken: string | null, items: Array<{ key: string, status: RecordStatus, run: number, etag: string, size: number, destEtag: string, proof: string, verified: string, attempts: number, reason: string, detail: string, updatedAt: string | null }> } };

export type RedriveDeadLettersMutationVariables = Exact<{
  id: string | number;
}>;


export type RedriveDeadLettersMutation = { redriveDeadLetters: { id: string, progress: TaskProgress | null } | null };

export type TaskCertificateMutationVariables = Exact<{
  id: string | number;
  run: number;
}>;


export type TaskCertificateMutation = { job: { id: string } };

export type TaskParameterFormQueryVariables = Exact<{
  type: TaskType;
}>;


export type TaskParameterFormQuery = { listTaskParameters: Array<{ name: string, label: string, group: string, help: string, kind: string, default: string, size: boolean }> };

export type TaskEngineQueryVariables = Exact<{
  id: string;
}>;


export type TaskEngineQuery = { desired: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null } | null, messages: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null } | null, hubInfo: { platform: string } };

export type GraphFragment = { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null };

export type TaskGraphsQueryVariables = Exact<{
  id: string;
  startTime?: string | null | undefined;
  endTime?: string | null | undefined;
}>;


export type TaskGraphsQuery = { Network: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null, TransferredFailedObjects: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null, RunningWaitingJobHistory: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null, DesiredInServiceInstances: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null, Latency: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null, Errors: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null, xaxis: { categories: Array<number | null> | null } | null } | null };

export type TaskLogStreamsQueryVariables = Exact<{
  logGroupName?: string | null | undefined;
}>;


export type TaskLogStreamsQuery = { listLogStreams: { logStreams: Array<{ logStreamName: string | null, lastEventTimestamp: string | null, storedBytes: number | null } | null> | null } | null };

export type TaskLogEventsQueryVariables = Exact<{
  logGroupName?: string | null | undefined;
  logStreamName?: string | null | undefined;
  limit?: number | null | undefined;
  nextToken?: string | null | undefined;
  search?: string | null | undefined;
  startTime?: string | null | undefined;
  endTime?: string | null | undefined;
  level?: LogLevel | null | undefined;
  logStreamNamePrefix?: string | null | undefined;
}>;


export type TaskLogEventsQuery = { getLogEvents: { nextForwardToken: string | null, nextBackwardToken: string | null, logEvents: Array<{ timestamp: string | null, message: string | null, logStreamName: string | null } | null> | null } | null };

export type TaskWebhookQueryVariables = Exact<{
  id: string | number;
}>;


export type TaskWebhookQuery = { getWebhook: { url: string, token: string } };

export type TaskAuditQueryVariables = Exact<{
  id?: string | null | undefined;
  page?: number | null | undefined;
  count?: number | null | undefined;
}>;


export type TaskAuditQuery = { listAudit: { total: number, items: Array<{ id: number, at: string | null, who: string, via: string, what: string, detail: string, outcome: string }> } };

export type TaskMarkersQueryVariables = Exact<{
  id?: string | null | undefined;
  what?: Array<string> | string | null | undefined;
  since?: string | null | undefined;
}>;


export type TaskMarkersQuery = { listAudit: { items: Array<{ id: number, at: string | null, who: string, what: string, detail: string, outcome: string }> } };

export type TaskImagesQueryVariables = Exact<{
  id: string | number;
  run?: number | null | undefined;
  status?: RecordStatus | null | undefined;
  prefix?: string | null | undefined;
  reason?: string | null | undefined;
  limit?: number | null | undefined;
  nextToken?: string | null | undefined;
}>;


export type TaskImagesQuery = { listImages: { nextToken: string | null, items: Array<{ key: string, run: number, source: string, status: RecordStatus, sourceDigest: string, destDigest: string, size: number, moved: number, skipped: number, seconds: number, attempts: number, reason: string, detail: string, platforms: Array<string>, endedAt: string | null }> } };

export type TaskImageHistoryQueryVariables = Exact<{
  id: string | number;
  key: string;
}>;


export type TaskImageHistoryQuery = { imageHistory: Array<{ key: string, run: number, source: string, status: RecordStatus, sourceDigest: string, destDigest: string, size: number, moved: number, skipped: number, seconds: number, attempts: number, reason: string, detail: string, platforms: Array<string>, endedAt: string | null }> };

export type ImageFragment = { key: string, run: number, source: string, status: RecordStatus, sourceDigest: string, destDigest: string, size: number, moved: number, skipped: number, seconds: number, attempts: number, reason: string, detail: string, platforms: Array<string>, endedAt: string | null };

export type HomeQueryVariables = Exact<{
  today?: string | null | undefined;
}>;


export type HomeQuery = { hubInfo: { tasks: string }, listSecrets: Array<{ name: string } | null> | null, day: { rate: number, active: number, waiting: number, workers: number, bytes: number, objects: number, failed: number, points: Array<{ at: number, bytes: number, objects: number, failed: number }> }, today: { bytes: number, objects: number, failed: number }, attention: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, phase: TaskPhase | null, waitsFor: string | null, isBeingDeleted: boolean, needsAttention: boolean, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, scheduleTimeZone: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, acknowledged: { by: string, at: string | null, until: string | null } | null, lastRun: { id: number, result: RunResult, endedAt: string | null, seconds: number } | null, recentRuns: Array<{ id: number, result: RunResult, endedAt: string | null, seconds: number }>, progressInfo: { objects: number | null, doneObjects: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, percent: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null, state: string | null, note: string | null } | null } | null> | null } | null, recent: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, phase: TaskPhase | null, waitsFor: string | null, isBeingDeleted: boolean, needsAttention: boolean, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, scheduleTimeZone: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, acknowledged: { by: string, at: string | null, until: string | null } | null, lastRun: { id: number, result: RunResult, endedAt: string | null, seconds: number } | null, recentRuns: Array<{ id: number, result: RunResult, endedAt: string | null, seconds: number }>, progressInfo: { objects: number | null, doneObjects: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, percent: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null, state: string | null, note: string | null } | null } | null> | null } | null };

export type TaskRateQueryVariables = Exact<{
  id: string;
  period?: number | null | undefined;
}>;


export type TaskRateQuery = { getMetricHistoryData: { series: Array<{ name: string | null, data: Array<number | null> | null } | null> | null } | null };

export type StoresQueryVariables = Exact<{ [key: string]: never; }>;


export type StoresQuery = { listStores: Array<{ name: string, kind: string, endpoint: string, region: string, secret: string, profile: string, roleArn: string, externalId: string, addressingStyle: string, caBundle: string, proxy: string, checksumMode: string, anonymous: boolean, description: string, updatedAt: string | null, tasks: number }> };

export type CreateStoreMutationVariables = Exact<{
  name: string;
  input: StoreInput;
}>;


export type CreateStoreMutation = { createStore: { name: string } };

export type UpdateStoreMutationVariables = Exact<{
  name: string;
  input: StoreInput;
}>;


export type UpdateStoreMutation = { updateStore: { name: string } };

export type DeleteStoreMutationVariables = Exact<{
  name: string;
}>;


export type DeleteStoreMutation = { deleteStore: { name: string } };

export type TestStoreMutationVariables = Exact<{
  name: string;
}>;


export type TestStoreMutation = { job: { id: string } };

export type ListBucketsMutationVariables = Exact<{
  input: CreateTaskInput;
  side: Side;
}>;


export type ListBucketsMutation = { job: { id: string } };

export type BrowseMutationVariables = Exact<{
  input: CreateTaskInput;
  side: Side;
  prefix?: string | null | undefined;
  token?: string | null | undefined;
}>;


export type BrowseMutation = { job: { id: string } };

export type ObjectDetailsMutationVariables = Exact<{
  input: CreateTaskInput;
  side: Side;
  key: string;
}>;


export type ObjectDetailsMutation = { job: { id: string } };

export type CreateBucketMutationVariables = Exact<{
  input: CreateTaskInput;
  side: Side;
}>;


export type CreateBucketMutation = { job: { id: string } };

export type WhoAmIQueryVariables = Exact<{ [key: string]: never; }>;


export type WhoAmIQuery = { whoAmI: { name: string, role: Role, via: string } };

export type TasksQueryVariables = Exact<{
  page?: number | null | undefined;
  count?: number | null | undefined;
  statuses?: Array<TaskProgress> | TaskProgress | null | undefined;
  type?: TaskType | null | undefined;
  scheduleType?: ScheduleType | null | undefined;
  text?: string | null | undefined;
  orderBy?: TaskOrder | null | undefined;
  descending?: boolean | null | undefined;
  attention?: boolean | null | undefined;
}>;


export type TasksQuery = { listTasksV2: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, phase: TaskPhase | null, waitsFor: string | null, isBeingDeleted: boolean, needsAttention: boolean, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, scheduleTimeZone: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, acknowledged: { by: string, at: string | null, until: string | null } | null, lastRun: { id: number, result: RunResult, endedAt: string | null, seconds: number } | null, recentRuns: Array<{ id: number, result: RunResult, endedAt: string | null, seconds: number }>, progressInfo: { objects: number | null, doneObjects: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, percent: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null, state: string | null, note: string | null } | null } | null> | null } | null };

export type ExportTaskQueryVariables = Exact<{
  id: string | number;
}>;


export type ExportTaskQuery = { exportTask: string };

export type PauseTaskMutationVariables = Exact<{
  id: string | number;
}>;


export type PauseTaskMutation = { pauseTask: { id: string, progress: TaskProgress | null } | null };

export type ResumeTaskMutationVariables = Exact<{
  id: string | number;
}>;


export type ResumeTaskMutation = { resumeTask: { id: string, progress: TaskProgress | null } | null };

export type StartRunMutationVariables = Exact<{
  id: string | number;
}>;


export type StartRunMutation = { startRun: { id: string, progress: TaskProgress | null } | null };

export type StopTaskMutationVariables = Exact<{
  id?: string | null | undefined;
}>;


export type StopTaskMutation = { stopTask: { id: string, progress: TaskProgress | null } | null };

export type DeleteTaskMutationVariables = Exact<{
  id: string | number;
  stop?: boolean | null | undefined;
}>;


export type DeleteTaskMutation = { deleteTask: { id: string, progress: TaskProgress | null } | null };

export type RetryFailedMutationVariables = Exact<{
  id: string | number;
  keys?: Array<string> | string | null | undefined;
  reason?: string | null | undefined;
}>;


export type RetryFailedMutation = { retryFailed: { id: string, progress: TaskProgress | null } | null };

export type AcknowledgeTaskMutationVariables = Exact<{
  id: string | number;
  until?: string | null | undefined;
}>;


export type AcknowledgeTaskMutation = { acknowledgeTask: { id: string } | null };

export type WithdrawAcknowledgementMutationVariables = Exact<{
  id: string | number;
}>;


export type WithdrawAcknowledgementMutation = { withdrawAcknowledgement: { id: string } | null };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements DocumentTypeDecoration<TResult, TVariables>
{
  __apiType?: NonNullable<DocumentTypeDecoration<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & DocumentTypeDecoration<TResult, TVariables> {
    return this.value;
  }
}
export const TaskRowFragmentDoc = new TypedDocumentString(`
    fragment TaskRow on Task {
  id
  description
  type
  progress
  phase
  waitsFor
  isBeingDeleted
  needsAttention
  acknowledged {
    by
    at
    until
  }
  lastRun {
    id
    result
    endedAt
    seconds
  }
  recentRuns {
    id
    result
    endedAt
    seconds
  }
  reason
  source
  destination
  scheduleType
  schedule
  scheduleTimeZone
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    objects
    doneObjects
    failed
    run
    listing
    totalBytes
    doneBytes
    percent
    rate
    eta
    workers
    waiting
    state
    note
  }
}
    `, {"fragmentName":"TaskRow"}) as unknown as TypedDocumentString<TaskRowFragment, unknown>;
export const IssuerPartsFragmentDoc = new TypedDocumentString(`
    fragment IssuerParts on Issuer {
  issuer
  clientId
  audience
  scope
  roleClaim
  roles {
    group
    role
  }
  defaultRole
  caBundle
}
    `, {"fragmentName":"IssuerParts"}) as unknown as TypedDocumentString<IssuerPartsFragment, unknown>;
export const SignInPartsFragmentDoc = new TypedDocumentString(`
    fragment SignInParts on SignIn {
  source
  overridden
  issuer {
    ...IssuerParts
  }
  waiting {
    ...IssuerParts
  }
}
    fragment IssuerParts on Issuer {
  issuer
  clientId
  audience
  scope
  roleClaim
  roles {
    group
    role
  }
  defaultRole
  caBundle
}`, {"fragmentName":"SignInParts"}) as unknown as TypedDocumentString<SignInPartsFragment, unknown>;
export const ComparisonRowFragmentDoc = new TypedDocumentString(`
    fragment ComparisonRow on Comparison {
  id
  task
  type
  source
  destination
  policy
  sample
  createdBy
  state
  verdict
  startedAt
  endedAt
  error
  notes
  filtered
  counts {
    state
    objects
    bytes
  }
}
    `, {"fragmentName":"ComparisonRow"}) as unknown as TypedDocumentString<ComparisonRowFragment, unknown>;
export const LedgerFragmentDoc = new TypedDocumentString(`
    fragment Ledger on Counts {
  listed
  filtered
  same
  archived
  pending
  enqueued
  unproven
  enqueued_bytes
  done
  failed
  cancelled
  done_bytes
  dest_listed
  extra
  restores
  delete_enqueued
  deleted
  delete_kept
  delete_failed
  verified_store
  verified_etag
  verified_source
  verified_content
  incomplete
}
    `, {"fragmentName":"Ledger"}) as unknown as TypedDocumentString<LedgerFragment, unknown>;
export const GraphFragmentDoc = new TypedDocumentString(`
    fragment Graph on GetMetricHistoryDataResponse {
  series {
    name
    data
  }
  xaxis {
    categories
  }
}
    `, {"fragmentName":"Graph"}) as unknown as TypedDocumentString<GraphFragment, unknown>;
export const ImageFragmentDoc = new TypedDocumentString(`
    fragment Image on ImageRecord {
  key
  run
  source
  status
  sourceDigest
  destDigest
  size
  moved
  skipped
  seconds
  attempts
  reason
  detail
  platforms
  endedAt
}
    `, {"fragmentName":"Image"}) as unknown as TypedDocumentString<ImageFragment, unknown>;
export const AdminSecretsDocument = new TypedDocumentString(`
    query AdminSecrets {
  listSecrets {
    name
    description
    updatedAt
    hosts
  }
}
    `) as unknown as TypedDocumentString<AdminSecretsQuery, AdminSecretsQueryVariables>;
export const StoreSecretDocument = new TypedDocumentString(`
    mutation StoreSecret($name: String!, $value: String!, $description: String) {
  createSecret(name: $name, value: $value, description: $description) {
    name
  }
}
    `) as unknown as TypedDocumentString<StoreSecretMutation, StoreSecretMutationVariables>;
export const ChangeSecretDocument = new TypedDocumentString(`
    mutation ChangeSecret($name: String!, $value: String, $description: String) {
  updateSecret(name: $name, value: $value, description: $description) {
    name
  }
}
    `) as unknown as TypedDocumentString<ChangeSecretMutation, ChangeSecretMutationVariables>;
export const BindSecretDocument = new TypedDocumentString(`
    mutation BindSecret($name: String!, $hosts: [String!]!) {
  bindSecret(name: $name, hosts: $hosts) {
    name
  }
}
    `) as unknown as TypedDocumentString<BindSecretMutation, BindSecretMutationVariables>;
export const DeleteSecretDocument = new TypedDocumentString(`
    mutation DeleteSecret($name: String!) {
  deleteSecret(name: $name) {
    name
  }
}
    `) as unknown as TypedDocumentString<DeleteSecretMutation, DeleteSecretMutationVariables>;
export const AdminHubDocument = new TypedDocumentString(`
    query AdminHub {
  hubInfo {
    version
    platform
    issuer
    users
    plugins
    limits
    backsUp
    invites
    setsSignIn
    certificateKey
  }
}
    `) as unknown as TypedDocumentString<AdminHubQuery, AdminHubQueryVariables>;
export const AdminUsersDocument = new TypedDocumentString(`
    query AdminUsers {
  listUsers {
    name
    role
    email
    createdAt
    lastLoginAt
    mustChangePassword
  }
}
    `) as unknown as TypedDocumentString<AdminUsersQuery, AdminUsersQueryVariables>;
export const CreateUserDocument = new TypedDocumentString(`
    mutation CreateUser($name: String!, $password: String!, $role: Role!, $email: String) {
  createUser(name: $name, password: $password, role: $role, email: $email) {
    name
  }
}
    `) as unknown as TypedDocumentString<CreateUserMutation, CreateUserMutationVariables>;
export const SetUserPasswordDocument = new TypedDocumentString(`
    mutation SetUserPassword($name: String!, $password: String!) {
  setUserPassword(name: $name, password: $password)
}
    `) as unknown as TypedDocumentString<SetUserPasswordMutation, SetUserPasswordMutationVariables>;
export const SetUserRoleDocument = new TypedDocumentString(`
    mutation SetUserRole($name: String!, $role: Role!) {
  setUserRole(name: $name, role: $role) {
    name
    role
  }
}
    `) as unknown as TypedDocumentString<SetUserRoleMutation, SetUserRoleMutationVariables>;
export const DeleteUserDocument = new TypedDocumentString(`
    mutation DeleteUser($name: String!) {
  deleteUser(name: $name)
}
    `) as unknown as TypedDocumentString<DeleteUserMutation, DeleteUserMutationVariables>;
export const AdminTokensDocument = new TypedDocumentString(`
    query AdminTokens {
  listTokens {
    id
    name
    role
    createdAt
    expiresAt
    lastUsedAt
    createdBy
  }
}
    `) as unknown as TypedDocumentString<AdminTokensQuery, AdminTokensQueryVariables>;
export const CreateTokenDocument = new TypedDocumentString(`
    mutation CreateToken($name: String!, $role: Role!, $days: Float) {
  createToken(name: $name, role: $role, expiresInDays: $days) {
    token
    info {
      id
      name
    }
  }
}
    `) as unknown as TypedDocumentString<CreateTokenMutation, CreateTokenMutationVariables>;
export const RevokeTokenDocument = new TypedDocumentString(`
    mutation RevokeToken($id: ID!) {
  revokeToken(id: $id)
}
    `) as unknown as TypedDocumentString<RevokeTokenMutation, RevokeTokenMutationVariables>;
export const AdminChannelsDocument = new TypedDocumentString(`
    query AdminChannels {
  listChannels {
    id
    kind
    target
    name
    events
    enabled
  }
}
    `) as unknown as TypedDocumentString<AdminChannelsQuery, AdminChannelsQueryVariables>;
export const PutChannelDocument = new TypedDocumentString(`
    mutation PutChannel($input: ChannelInput!) {
  putChannel(input: $input) {
    id
    enabled
  }
}
    `) as unknown as TypedDocumentString<PutChannelMutation, PutChannelMutationVariables>;
export const DeleteChannelDocument = new TypedDocumentString(`
    mutation DeleteChannel($id: ID!) {
  deleteChannel(id: $id)
}
    `) as unknown as TypedDocumentString<DeleteChannelMutation, DeleteChannelMutationVariables>;
export const TestChannelDocument = new TypedDocumentString(`
    mutation TestChannel($id: ID!) {
  testChannel(id: $id)
}
    `) as unknown as TypedDocumentString<TestChannelMutation, TestChannelMutationVariables>;
export const AdminAuditDocument = new TypedDocumentString(`
    query AdminAudit($who: String, $target: String, $what: [String!], $since: AWSDateTime, $until: AWSDateTime, $page: Int, $count: Int) {
  listAudit(
    who: $who
    target: $target
    what: $what
    since: $since
    until: $until
    page: $page
    count: $count
  ) {
    total
    items {
      id
      at
      who
      via
      what
      target
      detail
      outcome
    }
  }
}
    `) as unknown as TypedDocumentString<AdminAuditQuery, AdminAuditQueryVariables>;
export const AdminBackupsDocument = new TypedDocumentString(`
    query AdminBackups {
  listAudit(what: ["backup", "restore"], count: 10) {
    items {
      id
      at
      who
      via
      what
      target
      outcome
    }
  }
}
    `) as unknown as TypedDocumentString<AdminBackupsQuery, AdminBackupsQueryVariables>;
export const AdminRestoreDocument = new TypedDocumentString(`
    query AdminRestore {
  getRestore {
    id
    state
    error
    tasks
    users
    newestAt
    leftOut
  }
}
    `) as unknown as TypedDocumentString<AdminRestoreQuery, AdminRestoreQueryVariables>;
export const CreateBackupLinkDocument = new TypedDocumentString(`
    mutation CreateBackupLink {
  createBackupLink {
    url
  }
}
    `) as unknown as TypedDocumentString<CreateBackupLinkMutation, CreateBackupLinkMutationVariables>;
export const BeginRestoreDocument = new TypedDocumentString(`
    mutation BeginRestore {
  beginRestore {
    id
  }
}
    `) as unknown as TypedDocumentString<BeginRestoreMutation, BeginRestoreMutationVariables>;
export const CheckRestoreDocument = new TypedDocumentString(`
    mutation CheckRestore($id: ID!) {
  checkRestore(id: $id) {
    id
  }
}
    `) as unknown as TypedDocumentString<CheckRestoreMutation, CheckRestoreMutationVariables>;
export const DiscardRestoreDocument = new TypedDocumentString(`
    mutation DiscardRestore($id: ID!) {
  discardRestore(id: $id)
}
    `) as unknown as TypedDocumentString<DiscardRestoreMutation, DiscardRestoreMutationVariables>;
export const AdminInvitationsDocument = new TypedDocumentString(`
    query AdminInvitations {
  listInvitations {
    id
    role
    email
    createdAt
    createdBy
    expiresAt
    state
    usedBy
  }
}
    `) as unknown as TypedDocumentString<AdminInvitationsQuery, AdminInvitationsQueryVariables>;
export const CreateInvitationDocument = new TypedDocumentString(`
    mutation CreateInvitation($role: Role!, $email: String, $days: Float) {
  createInvitation(role: $role, email: $email, expiresInDays: $days) {
    id
    url
    expiresAt
  }
}
    `) as unknown as TypedDocumentString<CreateInvitationMutation, CreateInvitationMutationVariables>;
export const WithdrawInvitationDocument = new TypedDocumentString(`
    mutation WithdrawInvitation($id: ID!) {
  withdrawInvitation(id: $id)
}
    `) as unknown as TypedDocumentString<WithdrawInvitationMutation, WithdrawInvitationMutationVariables>;
export const AdminSignInDocument = new TypedDocumentString(`
    query AdminSignIn {
  getSignIn {
    ...SignInParts
  }
}
    fragment IssuerParts on Issuer {
  issuer
  clientId
  audience
  scope
  roleClaim
  roles {
    group
    role
  }
  defaultRole
  caBundle
}
fragment SignInParts on SignIn {
  source
  overridden
  issuer {
    ...IssuerParts
  }
  waiting {
    ...IssuerParts
  }
}`) as unknown as TypedDocumentString<AdminSignInQuery, AdminSignInQueryVariables>;
export const TestIssuerDocument = new TypedDocumentString(`
    query TestIssuer($input: IssuerInput!) {
  testIssuer(input: $input) {
    name
    state
    found
  }
}
    `) as unknown as TypedDocumentString<TestIssuerQuery, TestIssuerQueryVariables>;
export const SaveIssuerDocument = new TypedDocumentString(`
    mutation SaveIssuer($input: IssuerInput!) {
  saveIssuer(input: $input) {
    id
  }
}
    `) as unknown as TypedDocumentString<SaveIssuerMutation, SaveIssuerMutationVariables>;
export const ConfirmIssuerDocument = new TypedDocumentString(`
    mutation ConfirmIssuer($token: String!) {
  confirmIssuer(token: $token) {
    id
  }
}
    `) as unknown as TypedDocumentString<ConfirmIssuerMutation, ConfirmIssuerMutationVariables>;
export const DiscardIssuerDocument = new TypedDocumentString(`
    mutation DiscardIssuer {
  discardIssuer {
    id
  }
}
    `) as unknown as TypedDocumentString<DiscardIssuerMutation, DiscardIssuerMutationVariables>;
export const UseBuiltInSignInDocument = new TypedDocumentString(`
    mutation UseBuiltInSignIn {
  useBuiltInSignIn {
    id
  }
}
    `) as unknown as TypedDocumentString<UseBuiltInSignInMutation, UseBuiltInSignInMutationVariables>;
export const ComparisonsDocument = new TypedDocumentString(`
    query Comparisons($task: ID, $count: Int) {
  hubInfo {
    compares
  }
  listComparisons(task: $task, count: $count) {
    ...ComparisonRow
  }
}
    fragment ComparisonRow on Comparison {
  id
  task
  type
  source
  destination
  policy
  sample
  createdBy
  state
  verdict
  startedAt
  endedAt
  error
  notes
  filtered
  counts {
    state
    objects
    bytes
  }
}`) as unknown as TypedDocumentString<ComparisonsQuery, ComparisonsQueryVariables>;
export const ComparisonHubDocument = new TypedDocumentString(`
    query ComparisonHub {
  hubInfo {
    compares
  }
}
    `) as unknown as TypedDocumentString<ComparisonHubQuery, ComparisonHubQueryVariables>;
export const ComparisonDetailDocument = new TypedDocumentString(`
    query ComparisonDetail($id: ID!) {
  getComparison(id: $id) {
    ...ComparisonRow
  }
}
    fragment ComparisonRow on Comparison {
  id
  task
  type
  source
  destination
  policy
  sample
  createdBy
  state
  verdict
  startedAt
  endedAt
  error
  notes
  filtered
  counts {
    state
    objects
    bytes
  }
}`) as unknown as TypedDocumentString<ComparisonDetailQuery, ComparisonDetailQueryVariables>;
export const ComparedFoldersDocument = new TypedDocumentString(`
    query ComparedFolders($id: ID!, $path: String) {
  listComparedFolders(id: $id, path: $path) {
    path
    folders
    counts {
      state
      objects
      bytes
    }
  }
}
    `) as unknown as TypedDocumentString<ComparedFoldersQuery, ComparedFoldersQueryVariables>;
export const FindingsDocument = new TypedDocumentString(`
    query Findings($id: ID!, $states: [FindingState!], $prefix: String, $limit: Int, $nextToken: String) {
  listFindings(
    id: $id
    states: $states
    prefix: $prefix
    limit: $limit
    nextToken: $nextToken
  ) {
    nextToken
    items {
      key
      state
      size
      destSize
      etag
      reason
    }
  }
}
    `) as unknown as TypedDocumentString<FindingsQuery, FindingsQueryVariables>;
export const ComparisonCertificateDocument = new TypedDocumentString(`
    query ComparisonCertificate($id: ID!) {
  getComparisonCertificate(id: $id)
}
    `) as unknown as TypedDocumentString<ComparisonCertificateQuery, ComparisonCertificateQueryVariables>;
export const ComparisonTaskDocument = new TypedDocumentString(`
    query ComparisonTask($id: ID!) {
  getTask(id: $id) {
    id
    type
    description
    source
    destination
  }
}
    `) as unknown as TypedDocumentString<ComparisonTaskQuery, ComparisonTaskQueryVariables>;
export const CompareDocument = new TypedDocumentString(`
    mutation Compare($task: ID, $input: CreateTaskInput, $policy: String, $sample: Float) {
  compare(task: $task, input: $input, policy: $policy, sample: $sample) {
    id
  }
}
    `) as unknown as TypedDocumentString<CompareMutation, CompareMutationVariables>;
export const CancelComparisonDocument = new TypedDocumentString(`
    mutation CancelComparison($id: ID!) {
  cancelComparison(id: $id) {
    id
    state
  }
}
    `) as unknown as TypedDocumentString<CancelComparisonMutation, CancelComparisonMutationVariables>;
export const DeleteComparisonDocument = new TypedDocumentString(`
    mutation DeleteComparison($id: ID!) {
  deleteComparison(id: $id) {
    id
  }
}
    `) as unknown as TypedDocumentString<DeleteComparisonMutation, DeleteComparisonMutationVariables>;
export const CopyFindingsDocument = new TypedDocumentString(`
    mutation CopyFindings($id: ID!, $states: [FindingState!], $prefix: String, $keys: [String!]) {
  copyFindings(id: $id, states: $states, prefix: $prefix, keys: $keys) {
    id
  }
}
    `) as unknown as TypedDocumentString<CopyFindingsMutation, CopyFindingsMutationVariables>;
export const CreateHubDocument = new TypedDocumentString(`
    query CreateHub {
  hubInfo {
    platform
    plugins
  }
}
    `) as unknown as TypedDocumentString<CreateHubQuery, CreateHubQueryVariables>;
export const FormParametersDocument = new TypedDocumentString(`
    query FormParameters($type: TaskType!) {
  listTaskParameters(type: $type) {
    name
    label
    group
    help
    kind
    default
    allowed
    option
    minimum
    maximum
    size
    required
  }
}
    `) as unknown as TypedDocumentString<FormParametersQuery, FormParametersQueryVariables>;
export const FormTaskDocument = new TypedDocumentString(`
    query FormTask($id: ID!) {
  getTask(id: $id) {
    id
    type
    description
    scheduleType
    parameters {
      ParameterKey
      ParameterValue
    }
  }
}
    `) as unknown as TypedDocumentString<FormTaskQuery, FormTaskQueryVariables>;
export const JobResultDocument = new TypedDocumentString(`
    query JobResult($id: ID!) {
  getJob(id: $id) {
    id
    state
    error
    result
  }
}
    `) as unknown as TypedDocumentString<JobResultQuery, JobResultQueryVariables>;
export const CreateTaskDocument = new TypedDocumentString(`
    mutation CreateTask($input: CreateTaskInput!) {
  createTask(input: $input) {
    id
  }
}
    `) as unknown as TypedDocumentString<CreateTaskMutation, CreateTaskMutationVariables>;
export const EditTaskDocument = new TypedDocumentString(`
    mutation EditTask($id: ID!, $input: EditTaskInput!) {
  editTask(id: $id, input: $input) {
    id
  }
}
    `) as unknown as TypedDocumentString<EditTaskMutation, EditTaskMutationVariables>;
export const PreflightDocument = new TypedDocumentString(`
    mutation Preflight($input: CreateTaskInput!) {
  job: preflight(input: $input) {
    id
  }
}
    `) as unknown as TypedDocumentString<PreflightMutation, PreflightMutationVariables>;
export const ForecastDocument = new TypedDocumentString(`
    mutation Forecast($input: CreateTaskInput!) {
  job: forecast(input: $input) {
    id
  }
}
    `) as unknown as TypedDocumentString<ForecastMutation, ForecastMutationVariables>;
export const TestConnectionDocument = new TypedDocumentString(`
    mutation TestConnection($input: CreateTaskInput!, $side: Side!) {
  job: testConnection(input: $input, side: $side) {
    id
  }
}
    `) as unknown as TypedDocumentString<TestConnectionMutation, TestConnectionMutationVariables>;
export const TaskDetailDocument = new TypedDocumentString(`
    query TaskDetail($id: ID!) {
  getTask(id: $id) {
    ...TaskRow
    parameters {
      ParameterKey
      ParameterValue
    }
    logGroupName
    stackId
    stackName
    stackStatus
    stackStatusReason
    stackOutputs {
      Description
      OutputKey
      OutputValue
    }
    executionArn
  }
}
    fragment TaskRow on Task {
  id
  description
  type
  progress
  phase
  waitsFor
  isBeingDeleted
  needsAttention
  acknowledged {
    by
    at
    until
  }
  lastRun {
    id
    result
    endedAt
    seconds
  }
  recentRuns {
    id
    result
    endedAt
    seconds
  }
  reason
  source
  destination
  scheduleType
  schedule
  scheduleTimeZone
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    objects
    doneObjects
    failed
    run
    listing
    totalBytes
    doneBytes
    percent
    rate
    eta
    workers
    waiting
    state
    note
  }
}`) as unknown as TypedDocumentString<TaskDetailQuery, TaskDetailQueryVariables>;
export const TaskErrorDocument = new TypedDocumentString(`
    query TaskError($id: String!) {
  getErrorMessage(id: $id) {
    errCode
  }
}
    `) as unknown as TypedDocumentString<TaskErrorQuery, TaskErrorQueryVariables>;
export const TaskRunsDocument = new TypedDocumentString(`
    query TaskRuns($id: ID!, $count: Int) {
  listRuns(id: $id, count: $count) {
    id
    kind
    state
    startedAt
    endedAt
    error
    notes
    counts {
      ...Ledger
    }
  }
}
    fragment Ledger on Counts {
  listed
  filtered
  same
  archived
  pending
  enqueued
  unproven
  enqueued_bytes
  done
  failed
  cancelled
  done_bytes
  dest_listed
  extra
  restores
  delete_enqueued
  deleted
  delete_kept
  delete_failed
  verified_store
  verified_etag
  verified_source
  verified_content
  incomplete
}`) as unknown as TypedDocumentString<TaskRunsQuery, TaskRunsQueryVariables>;
export const TaskFailuresDocument = new TypedDocumentString(`
    query TaskFailures($id: ID!) {
  failureGroups(id: $id) {
    reason
    count
    detail
    keys
    more
    advice
  }
}
    `) as unknown as TypedDocumentString<TaskFailuresQuery, TaskFailuresQueryVariables>;
export const TaskRecordsDocument = new TypedDocumentString(`
    query TaskRecords($id: ID!, $status: RecordStatus, $prefix: String, $reason: String, $run: Int, $limit: Int, $nextToken: String) {
  listRecords(
    id: $id
    status: $status
    prefix: $prefix
    reason: $reason
    run: $run
    limit: $limit
    nextToken: $nextToken
  ) {
    nextToken
    items {
      key
      status
      run
      etag
      size
      destEtag
      proof
      verified
      attempts
      reason
      detail
      updatedAt
    }
  }
}
    `) as unknown as TypedDocumentString<TaskRecordsQuery, TaskRecordsQueryVariables>;
export const RedriveDeadLettersDocument = new TypedDocumentString(`
    mutation RedriveDeadLetters($id: ID!) {
  redriveDeadLetters(id: $id) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<RedriveDeadLettersMutation, RedriveDeadLettersMutationVariables>;
export const TaskCertificateDocument = new TypedDocumentString(`
    mutation TaskCertificate($id: ID!, $run: Int!) {
  job: certify(id: $id, run: $run) {
    id
  }
}
    `) as unknown as TypedDocumentString<TaskCertificateMutation, TaskCertificateMutationVariables>;
export const TaskParameterFormDocument = new TypedDocumentString(`
    query TaskParameterForm($type: TaskType!) {
  listTaskParameters(type: $type) {
    name
    label
    group
    help
    kind
    default
    size
  }
}
    `) as unknown as TypedDocumentString<TaskParameterFormQuery, TaskParameterFormQueryVariables>;
export const TaskEngineDocument = new TypedDocumentString(`
    query TaskEngine($id: String!) {
  desired: getMetricHistoryData(id: $id, graphName: DesiredInServiceInstances) {
    series {
      name
      data
    }
  }
  messages: getMetricHistoryData(id: $id, graphName: RunningWaitingJobHistory) {
    series {
      name
      data
    }
  }
  hubInfo {
    platform
  }
}
    `) as unknown as TypedDocumentString<TaskEngineQuery, TaskEngineQueryVariables>;
export const TaskGraphsDocument = new TypedDocumentString(`
    query TaskGraphs($id: String!, $startTime: String, $endTime: String) {
  Network: getMetricHistoryData(
    id: $id
    graphName: Network
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
  TransferredFailedObjects: getMetricHistoryData(
    id: $id
    graphName: TransferredFailedObjects
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
  RunningWaitingJobHistory: getMetricHistoryData(
    id: $id
    graphName: RunningWaitingJobHistory
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
  DesiredInServiceInstances: getMetricHistoryData(
    id: $id
    graphName: DesiredInServiceInstances
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
  Latency: getMetricHistoryData(
    id: $id
    graphName: Latency
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
  Errors: getMetricHistoryData(
    id: $id
    graphName: Errors
    startTime: $startTime
    endTime: $endTime
  ) {
    ...Graph
  }
}
    fragment Graph on GetMetricHistoryDataResponse {
  series {
    name
    data
  }
  xaxis {
    categories
  }
}`) as unknown as TypedDocumentString<TaskGraphsQuery, TaskGraphsQueryVariables>;
export const TaskLogStreamsDocument = new TypedDocumentString(`
    query TaskLogStreams($logGroupName: String) {
  listLogStreams(logGroupName: $logGroupName, count: 100) {
    logStreams {
      logStreamName
      lastEventTimestamp
      storedBytes
    }
  }
}
    `) as unknown as TypedDocumentString<TaskLogStreamsQuery, TaskLogStreamsQueryVariables>;
export const TaskLogEventsDocument = new TypedDocumentString(`
    query TaskLogEvents($logGroupName: String, $logStreamName: String, $limit: Int, $nextToken: String, $search: String, $startTime: String, $endTime: String, $level: LogLevel, $logStreamNamePrefix: String) {
  getLogEvents(
    logGroupName: $logGroupName
    logStreamName: $logStreamName
    limit: $limit
    nextToken: $nextToken
    search: $search
    startTime: $startTime
    endTime: $endTime
    level: $level
    logStreamNamePrefix: $logStreamNamePrefix
  ) {
    nextForwardToken
    nextBackwardToken
    logEvents {
      timestamp
      message
      logStreamName
    }
  }
}
    `) as unknown as TypedDocumentString<TaskLogEventsQuery, TaskLogEventsQueryVariables>;
export const TaskWebhookDocument = new TypedDocumentString(`
    query TaskWebhook($id: ID!) {
  getWebhook(id: $id) {
    url
    token
  }
}
    `) as unknown as TypedDocumentString<TaskWebhookQuery, TaskWebhookQueryVariables>;
export const TaskAuditDocument = new TypedDocumentString(`
    query TaskAudit($id: String, $page: Int, $count: Int) {
  listAudit(target: $id, page: $page, count: $count) {
    total
    items {
      id
      at
      who
      via
      what
      detail
      outcome
    }
  }
}
    `) as unknown as TypedDocumentString<TaskAuditQuery, TaskAuditQueryVariables>;
export const TaskMarkersDocument = new TypedDocumentString(`
    query TaskMarkers($id: String, $what: [String!], $since: AWSDateTime) {
  listAudit(target: $id, what: $what, since: $since, count: 200) {
    items {
      id
      at
      who
      what
      detail
      outcome
    }
  }
}
    `) as unknown as TypedDocumentString<TaskMarkersQuery, TaskMarkersQueryVariables>;
export const TaskImagesDocument = new TypedDocumentString(`
    query TaskImages($id: ID!, $run: Int, $status: RecordStatus, $prefix: String, $reason: String, $limit: Int, $nextToken: String) {
  listImages(
    id: $id
    run: $run
    status: $status
    prefix: $prefix
    reason: $reason
    limit: $limit
    nextToken: $nextToken
  ) {
    nextToken
    items {
      ...Image
    }
  }
}
    fragment Image on ImageRecord {
  key
  run
  source
  status
  sourceDigest
  destDigest
  size
  moved
  skipped
  seconds
  attempts
  reason
  detail
  platforms
  endedAt
}`) as unknown as TypedDocumentString<TaskImagesQuery, TaskImagesQueryVariables>;
export const TaskImageHistoryDocument = new TypedDocumentString(`
    query TaskImageHistory($id: ID!, $key: String!) {
  imageHistory(id: $id, key: $key) {
    ...Image
  }
}
    fragment Image on ImageRecord {
  key
  run
  source
  status
  sourceDigest
  destDigest
  size
  moved
  skipped
  seconds
  attempts
  reason
  detail
  platforms
  endedAt
}`) as unknown as TypedDocumentString<TaskImageHistoryQuery, TaskImageHistoryQueryVariables>;
export const HomeDocument = new TypedDocumentString(`
    query Home($today: AWSDateTime) {
  hubInfo {
    tasks
  }
  listSecrets {
    name
  }
  day: hubActivity(hours: 24) {
    rate
    active
    waiting
    workers
    bytes
    objects
    failed
    points {
      at
      bytes
      objects
      failed
    }
  }
  today: hubActivity(since: $today) {
    bytes
    objects
    failed
  }
  attention: listTasksV2(attention: true, orderBy: updated, count: 8) {
    total
    items {
      ...TaskRow
    }
  }
  recent: listTasksV2(orderBy: updated, count: 6) {
    total
    items {
      ...TaskRow
    }
  }
}
    fragment TaskRow on Task {
  id
  description
  type
  progress
  phase
  waitsFor
  isBeingDeleted
  needsAttention
  acknowledged {
    by
    at
    until
  }
  lastRun {
    id
    result
    endedAt
    seconds
  }
  recentRuns {
    id
    result
    endedAt
    seconds
  }
  reason
  source
  destination
  scheduleType
  schedule
  scheduleTimeZone
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    objects
    doneObjects
    failed
    run
    listing
    totalBytes
    doneBytes
    percent
    rate
    eta
    workers
    waiting
    state
    note
  }
}`) as unknown as TypedDocumentString<HomeQuery, HomeQueryVariables>;
export const TaskRateDocument = new TypedDocumentString(`
    query TaskRate($id: String!, $period: Int) {
  getMetricHistoryData(id: $id, graphName: Network, period: $period) {
    series {
      name
      data
    }
  }
}
    `) as unknown as TypedDocumentString<TaskRateQuery, TaskRateQueryVariables>;
export const StoresDocument = new TypedDocumentString(`
    query Stores {
  listStores {
    name
    kind
    endpoint
    region
    secret
    profile
    roleArn
    externalId
    addressingStyle
    caBundle
    proxy
    checksumMode
    anonymous
    description
    updatedAt
    tasks
  }
}
    `) as unknown as TypedDocumentString<StoresQuery, StoresQueryVariables>;
export const CreateStoreDocument = new TypedDocumentString(`
    mutation CreateStore($name: String!, $input: StoreInput!) {
  createStore(name: $name, input: $input) {
    name
  }
}
    `) as unknown as TypedDocumentString<CreateStoreMutation, CreateStoreMutationVariables>;
export const UpdateStoreDocument = new TypedDocumentString(`
    mutation UpdateStore($name: String!, $input: StoreInput!) {
  updateStore(name: $name, input: $input) {
    name
  }
}
    `) as unknown as TypedDocumentString<UpdateStoreMutation, UpdateStoreMutationVariables>;
export const DeleteStoreDocument = new TypedDocumentString(`
    mutation DeleteStore($name: String!) {
  deleteStore(name: $name) {
    name
  }
}
    `) as unknown as TypedDocumentString<DeleteStoreMutation, DeleteStoreMutationVariables>;
export const TestStoreDocument = new TypedDocumentString(`
    mutation TestStore($name: String!) {
  job: testStore(name: $name) {
    id
  }
}
    `) as unknown as TypedDocumentString<TestStoreMutation, TestStoreMutationVariables>;
export const ListBucketsDocument = new TypedDocumentString(`
    mutation ListBuckets($input: CreateTaskInput!, $side: Side!) {
  job: listBuckets(input: $input, side: $side) {
    id
  }
}
    `) as unknown as TypedDocumentString<ListBucketsMutation, ListBucketsMutationVariables>;
export const BrowseDocument = new TypedDocumentString(`
    mutation Browse($input: CreateTaskInput!, $side: Side!, $prefix: String, $token: String) {
  job: browse(input: $input, side: $side, prefix: $prefix, token: $token) {
    id
  }
}
    `) as unknown as TypedDocumentString<BrowseMutation, BrowseMutationVariables>;
export const ObjectDetailsDocument = new TypedDocumentString(`
    mutation ObjectDetails($input: CreateTaskInput!, $side: Side!, $key: String!) {
  job: objectDetails(input: $input, side: $side, key: $key) {
    id
  }
}
    `) as unknown as TypedDocumentString<ObjectDetailsMutation, ObjectDetailsMutationVariables>;
export const CreateBucketDocument = new TypedDocumentString(`
    mutation CreateBucket($input: CreateTaskInput!, $side: Side!) {
  job: createBucket(input: $input, side: $side) {
    id
  }
}
    `) as unknown as TypedDocumentString<CreateBucketMutation, CreateBucketMutationVariables>;
export const WhoAmIDocument = new TypedDocumentString(`
    query WhoAmI {
  whoAmI {
    name
    role
    via
  }
}
    `) as unknown as TypedDocumentString<WhoAmIQuery, WhoAmIQueryVariables>;
export const TasksDocument = new TypedDocumentString(`
    query Tasks($page: Int, $count: Int, $statuses: [TaskProgress!], $type: TaskType, $scheduleType: ScheduleType, $text: String, $orderBy: TaskOrder, $descending: Boolean, $attention: Boolean) {
  listTasksV2(
    page: $page
    count: $count
    statuses: $statuses
    type: $type
    scheduleType: $scheduleType
    text: $text
    orderBy: $orderBy
    descending: $descending
    attention: $attention
  ) {
    total
    items {
      ...TaskRow
    }
  }
}
    fragment TaskRow on Task {
  id
  description
  type
  progress
  phase
  waitsFor
  isBeingDeleted
  needsAttention
  acknowledged {
    by
    at
    until
  }
  lastRun {
    id
    result
    endedAt
    seconds
  }
  recentRuns {
    id
    result
    endedAt
    seconds
  }
  reason
  source
  destination
  scheduleType
  schedule
  scheduleTimeZone
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    objects
    doneObjects
    failed
    run
    listing
    totalBytes
    doneBytes
    percent
    rate
    eta
    workers
    waiting
    state
    note
  }
}`) as unknown as TypedDocumentString<TasksQuery, TasksQueryVariables>;
export const ExportTaskDocument = new TypedDocumentString(`
    query ExportTask($id: ID!) {
  exportTask(id: $id)
}
    `) as unknown as TypedDocumentString<ExportTaskQuery, ExportTaskQueryVariables>;
export const PauseTaskDocument = new TypedDocumentString(`
    mutation PauseTask($id: ID!) {
  pauseTask(id: $id) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<PauseTaskMutation, PauseTaskMutationVariables>;
export const ResumeTaskDocument = new TypedDocumentString(`
    mutation ResumeTask($id: ID!) {
  resumeTask(id: $id) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<ResumeTaskMutation, ResumeTaskMutationVariables>;
export const StartRunDocument = new TypedDocumentString(`
    mutation StartRun($id: ID!) {
  startRun(id: $id) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<StartRunMutation, StartRunMutationVariables>;
export const StopTaskDocument = new TypedDocumentString(`
    mutation StopTask($id: String) {
  stopTask(id: $id) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<StopTaskMutation, StopTaskMutationVariables>;
export const DeleteTaskDocument = new TypedDocumentString(`
    mutation DeleteTask($id: ID!, $stop: Boolean) {
  deleteTask(id: $id, stop: $stop) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<DeleteTaskMutation, DeleteTaskMutationVariables>;
export const RetryFailedDocument = new TypedDocumentString(`
    mutation RetryFailed($id: ID!, $keys: [String!], $reason: String) {
  retryFailed(id: $id, keys: $keys, reason: $reason) {
    id
    progress
  }
}
    `) as unknown as TypedDocumentString<RetryFailedMutation, RetryFailedMutationVariables>;
export const AcknowledgeTaskDocument = new TypedDocumentString(`
    mutation AcknowledgeTask($id: ID!, $until: AWSDateTime) {
  acknowledgeTask(id: $id, until: $until) {
    id
  }
}
    `) as unknown as TypedDocumentString<AcknowledgeTaskMutation, AcknowledgeTaskMutationVariables>;
export const WithdrawAcknowledgementDocument = new TypedDocumentString(`
    mutation WithdrawAcknowledgement($id: ID!) {
  withdrawAcknowledgement(id: $id) {
    id
  }
}
    `) as unknown as TypedDocumentString<WithdrawAcknowledgementMutation, WithdrawAcknowledgementMutationVariables>;