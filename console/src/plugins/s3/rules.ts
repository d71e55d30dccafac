import { scheduleProblems } from '../schedule';
import { amount } from '../size';
import type { Problem, Reading, WizardPlan } from '../types';

type Side = 'src' | 'dest';

const AWS_HOST =
  /(^|\.)(amazonaws\.(com|com\.cn|eu)|api\.aws|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$/;
/** These have an address for each region. */
const REGIONAL = new Set([
  'Aliyun_OSS',
  'Qiniu_Kodo',
  'Tencent_COS',
  'Huawei_OBS',
  'Baidu_BOS',
  'Backblaze_B2',
  'Wasabi',
  'OVH',
  'Scaleway',
  'DigitalOcean',
  'IBM_COS',
]);
/** Only their URL says where they are. */
const SELF_HOSTED = new Set([
  'Cloudflare_R2',
  'MinIO',
  'Ceph',
  'Garage',
  'SeaweedFS',
  'StorageGRID',
  'Hitachi_HCP',
  'S3_Compatible',
]);

export function isAws(form: Reading, side: Side): boolean {
  // What the store is, the hub knows.
  if (form.given(`${side}Store`)) return false;
  const type = form.value(`${side}Type`);
  if (type) return type === 'Amazon_S3';
  const host = hostOf(form.value(`${side}Endpoint`));
  return host === '' || AWS_HOST.test(host);
}

/** Several URLs of one store have commas or space between them. */
const urlsOf = (text: string) => text.split(/[,\s]+/).filter(Boolean);

function hostOf(endpoint: string): string {
  try {
    const [first = ''] = urlsOf(endpoint);
    return first && new URL(first.includes('://') ? first : `https://${first}`).hostname;
  } catch {
    return 'unknown';
  }
}

/** Whether the form itself says where the side is, and no store does. */
export const isTyped = (side: Side) => (form: Reading) => !form.given(`${side}Store`);
/** What a store gives. */
const OF_STORES = [
  'Type',
  'Endpoint',
  'Region',
  'InCurrentAccount',
  'RoleArn',
  'ExternalId',
  'AddressingStyle',
  'CaBundle',
  'Proxy',
];
const typedAlone = (side: Side) => OF_STORES.map((end) => [`${side}${end}`, isTyped(side)] as const);

const isSigned = (form: Reading) => form.picked('srcAccess') !== 'anonymous';
/** Whole prefixes are listed on both sides, as mirror deletes need them. */
const isListed = (form: Reading) =>
  form.value('srcSkipCompare') !== 'true' &&
  form.value('comparePolicy') !== 'always' &&
  ['all', 'prefixes'].includes(form.picked('copied'));
const restores = (form: Reading) => form.value('restoreArchived') === 'true';

export const applies: WizardPlan['applies'] = {
  ...Object.fromEntries([...typedAlone('src'), ...typedAlone('dest')]),
  srcAnonymous: isTyped('src'),
  srcRoleArn: (form) => isTyped('src')(form) && isSigned(form),
  srcExternalId: (form) => form.given('srcRoleArn'),
  destExternalId: (form) => form.given('destRoleArn'),
  isPayerRequest: isSigned,
  destKeepsSrcPrefix: (form) => form.given('srcPrefix') || form.given('destPrefix'),
  destPutObjectSSEKmsKeyId: (form) => form.value('destPutObjectSSEType') === 'AWS_KMS',
  comparePolicy: (form) => form.value('srcSkipCompare') !== 'true',
  deleteMode: isListed,
  deleteMaxPercent: (form) => form.value('deleteMode') === 'Mirror',
  restoreTier: restores,
  restoreDays: restores,
};

// A folder of the hub's machine, where its settings list it.
const isFolder = (text: string) => text.startsWith('/');
const isStore = (side: Side) => (form: Reading) => !isFolder(form.value(`${side}Bucket`));

const needsEndpoint = (side: Side) => (form: Reading) => SELF_HOSTED.has(form.value(`${side}Type`));
const needsRegion = (side: Side) => (form: Reading) =>
  REGIONAL.has(form.value(`${side}Type`)) && !form.given(`${side}Endpoint`);
const picked = () => true; // they apply only where they were picked

export const needs: WizardPlan['needs'] = {
  srcEndpoint: needsEndpoint('src'),
  destEndpoint: needsEndpoint('dest'),
  srcRegion: needsRegion('src'),
  destRegion: needsRegion('dest'),
  srcCredentials: isStore('src'),
  srcProfile: isStore('src'),
  destCredentials: isStore('dest'),
  destProfile: isStore('dest'),
  srcPrefixsListFile: picked,
  srcManifest: picked,
  srcInventory: picked,
};

/** Storage class and ACL have their defaults for AWS destinations only. */
export const standards: WizardPlan['standards'] = {
  destStorageClass: (form) => (isAws(form, 'dest') && isStore('dest')(form) ? 'INTELLIGENT_TIERING' : ''),
  destAcl: (form) => (isAws(form, 'dest') && isStore('dest')(form) ? 'bucket-owner-full-control' : ''),
};

const MOMENT = /^(\d+[smhdw]|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)$/;

export function check(form: Reading): Record<string, Problem> {
  const found = scheduleProblems(form);
  const refuse = (names: string[], isGood: (text: string) => boolean, key: Problem) => {
    for (const name of names) if (form.given(name) && !isGood(form.value(name))) found[name] = key;
  };
  refuse(['srcBucket', 'destBucket'], (text) => isBucket(text) || isFolder(text), {
    key: 's3.problems.bucket',
  });
  refuse(['srcPrefixListBucket'], isBucket, { key: 's3.problems.bucket' });
  refuse(['srcEndpoint', 'destEndpoint'], (text) => urlsOf(text).every(isEndpoint), {
    key: 's3.problems.endpoint',
  });
  refuse(['srcInventory'], (text) => /^s3:\/\/[^/]+\/.+/.test(text), { key: 's3.problems.inventory' });
  refuse(['modifiedSince', 'modifiedBefore'], (text) => MOMENT.test(text), { key: 's3.problems.moment' });
  refuse(['maxRequestsPerSecond'], (text) => Number(text) > 0, { key: 'create.problems.positive' });
  refuse(['maxSize'], (text) => !(amount(text) < amount(form.value('minSize'))), {
    key: 's3.problems.sizes',
  });
  refuse(['minCapacity', 'maxCapacity'], () => capacity(form, 'min') <= capacity(form, 'max'), {
    key: 's3.problems.workers',
  });
  return found;
}

const capacity = (form: Reading, which: 'min' | 'max') => Number(form.value(`${which}Capacity`));

/** A name, or the ARN of an access point. */
const isBucket = (text: string) => /^([^\s/]+|arn:\S+:accesspoint\/[^\s/]+)$/.test(text);

/** Scheme, host and port, without a path and without credentials. */
function isEndpoint(text: string): boolean {
  try {
    const url = new URL(text.includes('://') ? text : `https://${text}`);
    return (
      /^https?:$/.test(url.protocol) && url.hostname !== '' && url.pathname === '/' && !/[?#@\s]/.test(text)
    );
  } catch {
    return false;
  }
}
