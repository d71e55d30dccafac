// Made by scripts/codegen.mjs from the hub's schema and src/api/operations.
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
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

export type Role =
  | 'viewer'
  | 'operator'
  | 'admin';

export type ChannelInput = {
  id?: string | number | null | undefined;
  /** email or webhook. */
  kind: string;
  target: string;
  name?: string | null | undefined;
  events?: Array<string> | null | undefined;
  enabled?: boolean | null | undefined;
};

export type TaskRowFragment = { id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, progressInfo: { total: number | null, replicated: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null } | null };

export type AdminSecretsQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminSecretsQuery = { listSecrets: Array<{ name: string, description: string | null, updatedAt: string | null } | null> | null };

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

export type DeleteSecretMutationVariables = Exact<{
  name: string;
}>;


export type DeleteSecretMutation = { deleteSecret: { name: string } };

export type AdminHubQueryVariables = Exact<{ [key: string]: never; }>;


export type AdminHubQuery = { hubInfo: { version: string, platform: string, issuer: string, users: number | null, plugins: Array<string>, limits: string, certificateKey: string } };

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
  page?: number | null | undefined;
  count?: number | null | undefined;
}>;


export type AdminAuditQuery = { listAudit: { total: number, items: Array<{ id: number, at: string | null, who: string, via: string, what: string, target: string, detail: string, outcome: string }> } };

export type HomeQueryVariables = Exact<{
  today?: string | null | undefined;
}>;


export type HomeQuery = { hubInfo: { tasks: string }, listSecrets: Array<{ name: string } | null> | null, day: { rate: number, active: number, waiting: number, workers: number, bytes: number, objects: number, failed: number, points: Array<{ at: number, bytes: number, objects: number, failed: number }> }, today: { bytes: number, objects: number, failed: number }, halted: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, progressInfo: { total: number | null, replicated: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null } | null } | null> | null } | null, recent: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, progressInfo: { total: number | null, replicated: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null } | null } | null> | null } | null };

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
}>;


export type TasksQuery = { listTasksV2: { total: number | null, items: Array<{ id: string, description: string | null, type: TaskType | null, progress: TaskProgress | null, reason: string | null, source: string | null, destination: string | null, scheduleType: ScheduleType | null, schedule: string | null, nextRunAt: string | null, createdAt: string | null, createdBy: string | null, updatedAt: string | null, stoppedAt: string | null, spent: number | null, progressInfo: { total: number | null, replicated: number | null, failed: number | null, run: number | null, listing: boolean | null, totalBytes: number | null, doneBytes: number | null, rate: number | null, eta: number | null, workers: number | null, waiting: number | null } | null } | null> | null } | null };

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
}>;


export type DeleteTaskMutation = { deleteTask: { id: string, progress: TaskProgress | null } | null };

export type RetryFailedMutationVariables = Exact<{
  id: string | number;
  keys?: Array<string> | string | null | undefined;
  reason?: string | null | undefined;
}>;


export type RetryFailedMutation = { retryFailed: { id: string, progress: TaskProgress | null } | null };

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
  reason
  source
  destination
  scheduleType
  schedule
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    total
    replicated
    failed
    run
    listing
    totalBytes
    doneBytes
    rate
    eta
    workers
    waiting
  }
}
    `, {"fragmentName":"TaskRow"}) as unknown as TypedDocumentString<TaskRowFragment, unknown>;
export const AdminSecretsDocument = new TypedDocumentString(`
    query AdminSecrets {
  listSecrets {
    name
    description
    updatedAt
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
    query AdminAudit($who: String, $target: String, $page: Int, $count: Int) {
  listAudit(who: $who, target: $target, page: $page, count: $count) {
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
  halted: listTasksV2(statuses: [ERROR, PAUSED], orderBy: updated, count: 20) {
    total
    items {
      ...TaskRow
    }
  }
  recent: listTasksV2(orderBy: updated, count: 50) {
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
  reason
  source
  destination
  scheduleType
  schedule
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    total
    replicated
    failed
    run
    listing
    totalBytes
    doneBytes
    rate
    eta
    workers
    waiting
  }
}`) as unknown as TypedDocumentString<HomeQuery, HomeQueryVariables>;
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
    query Tasks($page: Int, $count: Int, $statuses: [TaskProgress!], $type: TaskType, $scheduleType: ScheduleType, $text: String, $orderBy: TaskOrder, $descending: Boolean) {
  listTasksV2(
    page: $page
    count: $count
    statuses: $statuses
    type: $type
    scheduleType: $scheduleType
    text: $text
    orderBy: $orderBy
    descending: $descending
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
  reason
  source
  destination
  scheduleType
  schedule
  nextRunAt
  createdAt
  createdBy
  updatedAt
  stoppedAt
  spent
  progressInfo {
    total
    replicated
    failed
    run
    listing
    totalBytes
    doneBytes
    rate
    eta
    workers
    waiting
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
    mutation DeleteTask($id: ID!) {
  deleteTask(id: $id) {
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