import { scheduleExamples, scheduleFields, scheduleNeeds, scheduleStep } from '../schedule';
import type { WizardPlan } from '../types';
import { Forecast } from './Forecast';
import { applies, check, needs, standards } from './rules';
import { SecretField } from '../SecretField';
import { PlaceField } from './stores/PlaceField';
import { StoreField } from './stores/StoreField';
import { comparison, destination, source } from './steps';

export const wizard: WizardPlan = {
  steps: [source, destination, comparison, scheduleStep],
  quick: [
    { id: 'sourceStore', items: ['srcStore', 'srcBucket', 'srcPrefix'] },
    { id: 'destinationStore', items: ['destStore', 'destBucket', 'destPrefix'] },
  ],
  start: {
    values: { scheduleRate: '1 day' },
    picks: { srcAccess: 'secret', destAccess: 'secret', copied: 'all', schedule: 'once' },
  },
  applies,
  needs: { ...needs, ...scheduleNeeds },
  standards,
  check,
  awsOnly: [
    'srcInCurrentAccount',
    'destInCurrentAccount',
    'ec2VpcId',
    'ec2Subnets',
    'spotWorkers',
    'finderDepth',
    'finderNumber',
    'finderEc2Memory',
  ],
  // The records of a task are about these.
  fixed: [
    'srcStore',
    'destStore',
    'srcBucket',
    'srcPrefix',
    'destType',
    'destEndpoint',
    'destBucket',
    'destPrefix',
    'destKeepsSrcPrefix',
  ],
  fields: {
    srcStore: StoreField,
    destStore: StoreField,
    srcBucket: PlaceField,
    srcPrefix: PlaceField,
    destBucket: PlaceField,
    destPrefix: PlaceField,
    srcCredentials: SecretField,
    destCredentials: SecretField,
    ...scheduleFields,
  },
  choices: {
    srcType: 'store',
    destType: 'store',
    srcAddressingStyle: 'addressing',
    destAddressingStyle: 'addressing',
  },
  examples: {
    srcEndpoint: 'https://minio.example.com:9000',
    destEndpoint: 'https://minio.example.com:9000',
    srcRegion: 'eu-central-1',
    destRegion: 'eu-central-1',
    srcPrefix: 'photos/2026/',
    destPrefix: 'copies',
    srcRoleArn: 'arn:aws:iam::123456789012:role/transfer',
    destRoleArn: 'arn:aws:iam::123456789012:role/transfer',
    srcProxy: 'http://proxy.example.com:3128',
    destProxy: 'http://proxy.example.com:3128',
    srcCaBundle: 'corporate',
    destCaBundle: 'corporate',
    destPutObjectSSEKmsKeyId: 'arn:aws:kms:eu-central-1:123456789012:key/...',
    srcPrefixsListFile: 'lists/prefixes.txt',
    srcManifest: 'lists/manifest.csv',
    srcInventory: 's3://inventories/photos/daily/2026-01-31T01-00Z/manifest.json',
    includePatterns: '*.jpg\nreports/**',
    excludePatterns: '*.tmp\n.trash/**',
    minSize: '1 KiB',
    maxSize: '5 TiB',
    modifiedSince: '2026-01-31',
    modifiedBefore: '7d',
    srcStorageClasses: 'STANDARD\nSTANDARD_IA',
    maxBytesPerSecond: '10 MiB',
    ...scheduleExamples,
  },
  Forecast,
};
