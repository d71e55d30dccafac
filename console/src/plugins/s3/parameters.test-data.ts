import type { Parameter } from '../types';
import texts from './en.json';

const choice = (allowed: string[], standard = '') => ({ kind: 'choice', allowed, default: standard });
const number = (standard: string, minimum: number | null = null, maximum: number | null = null) => ({
  kind: 'number',
  default: standard,
  minimum,
  maximum,
});
const yes = { kind: 'boolean', default: 'true' };
const no = { kind: 'boolean', default: 'false' };
const list = { kind: 'list' };
const size = { size: true, minimum: 0 };
const STORES = Object.keys(texts.choices.store.labels).filter((each) => each !== 'unset');
const ADDRESSING = choice(['auto', 'path', 'virtual'], 'auto');

const MORE: Record<string, Partial<Parameter>> = {
  srcType: choice(STORES),
  destType: choice(STORES),
  srcBucket: { required: true },
  destBucket: { required: true },
  srcAddressingStyle: ADDRESSING,
  destAddressingStyle: ADDRESSING,
  srcAnonymous: no,
  srcInCurrentAccount: no,
  destInCurrentAccount: yes,
  isPayerRequest: no,
  destKeepsSrcPrefix: yes,
  destStorageClass: choice(['STANDARD', 'INTELLIGENT_TIERING'], 'INTELLIGENT_TIERING'),
  destAcl: choice(['private', 'bucket-owner-full-control'], 'bucket-owner-full-control'),
  destPutObjectSSEType: choice(['None', 'AES256', 'AWS_KMS'], 'None'),
  includeMetadata: yes,
  copyTags: yes,
  comparePolicy: choice(['size', 'size+time', 'etag', 'checksum', 'content', 'always'], 'etag'),
  srcSkipCompare: no,
  srcEvent: choice(['No', 'Create', 'CreateAndDelete'], 'No'),
  includePatterns: list,
  excludePatterns: list,
  filterRules: list,
  srcStorageClasses: list,
  minSize: size,
  maxSize: size,
  deleteMode: choice(['No', 'Mirror'], 'No'),
  deleteMaxPercent: number('10.0', 0, 100),
  restoreArchived: no,
  restoreTier: choice(['Standard', 'Bulk', 'Expedited'], 'Bulk'),
  restoreDays: number('7', 1),
  checksumMode: choice(['crc64nvme', 'none']),
  srcEtags: choice(['AUTO', 'MD5', 'OPAQUE'], 'AUTO'),
  verifyAfter: no,
  multipartThreshold: { ...size, ...number('67108864', 5 * 1024 ** 2) },
  partSize: { ...size, ...number('16777216', 5 * 1024 ** 2, 5 * 1024 ** 3) },
  workerNumber: number('4', 1, 10),
  requestsInFlight: number('', 1, 1000),
  minCapacity: number('0', 0, 1000),
  desiredCapacity: number('1', 0, 1000),
  maxCapacity: number('20', 1, 1000),
  maxBytesPerSecond: { size: true, minimum: 1024 },
  maxRequestsPerSecond: number('', 0),
  serverSideCopy: yes,
  ec2CronExpression: { default: '0/60 * * * ? *' },
  budget: number('', 0),
  spotWorkers: no,
};

/** The parameters as a hub tells them, as far as the form goes by that. */
export const PARAMETERS: Parameter[] = Object.entries(texts.parameters).map(([name, { label, help }]) => ({
  name,
  label,
  help,
  group: '',
  kind: 'text',
  default: '',
  allowed: [],
  option: '',
  minimum: null,
  maximum: null,
  size: false,
  required: false,
  ...MORE[name],
}));
