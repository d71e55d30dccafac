import type { Step } from '../types';
import { isTyped } from './rules';
import { TestDestination, TestSource } from './TestConnection';

export const source: Step = {
  id: 'source',
  sections: [
    {
      id: 'sourceStore',
      items: ['srcStore', 'srcType', 'srcEndpoint', 'srcRegion', 'srcBucket', 'srcPrefix'],
    },
    {
      id: 'sourceAccess',
      items: [
        'srcInCurrentAccount',
        {
          id: 'srcAccess',
          applies: isTyped('src'),
          options: [
            { id: 'secret', parameters: ['srcCredentials'] },
            { id: 'profile', parameters: ['srcProfile'] },
            { id: 'hub', parameters: [] },
            { id: 'anonymous', parameters: [], sets: { srcAnonymous: 'true' } },
          ],
        },
        'srcRoleArn',
        'srcExternalId',
        'srcSseCustomerKey',
        'isPayerRequest',
      ],
    },
    {
      id: 'copied',
      items: [
        {
          id: 'copied',
          options: [
            { id: 'all', parameters: [] },
            { id: 'prefixes', parameters: ['srcPrefixsListFile', 'srcPrefixListBucket'] },
            { id: 'manifest', parameters: ['srcManifest'] },
            { id: 'inventory', parameters: ['srcInventory'] },
          ],
        },
        'srcEvent',
      ],
    },
    { id: 'sourceConnection', folded: true, items: ['srcAddressingStyle', 'srcCaBundle', 'srcProxy'] },
  ],
  After: TestSource,
};

export const destination: Step = {
  id: 'destination',
  sections: [
    {
      id: 'destinationStore',
      items: [
        'destStore',
        'destType',
        'destEndpoint',
        'destRegion',
        'destBucket',
        'destPrefix',
        'destKeepsSrcPrefix',
      ],
    },
    {
      id: 'destinationAccess',
      items: [
        'destInCurrentAccount',
        {
          id: 'destAccess',
          applies: isTyped('dest'),
          options: [
            { id: 'secret', parameters: ['destCredentials'] },
            { id: 'profile', parameters: ['destProfile'] },
            { id: 'hub', parameters: [] },
          ],
        },
        'destRoleArn',
        'destExternalId',
      ],
    },
    {
      id: 'objects',
      items: [
        'destStorageClass',
        'destAcl',
        'destPutObjectSSEType',
        'destPutObjectSSEKmsKeyId',
        'destSseCustomerKey',
        'includeMetadata',
        'copyTags',
      ],
    },
    {
      id: 'destinationConnection',
      folded: true,
      items: ['destAddressingStyle', 'destCaBundle', 'destProxy'],
    },
  ],
  After: TestDestination,
};

export const comparison: Step = {
  id: 'settings',
  optional: true,
  sections: [
    { id: 'comparison', items: ['srcSkipCompare', 'comparePolicy', 'deleteMode', 'deleteMaxPercent'] },
    {
      id: 'filters',
      paired: true,
      items: [
        'includePatterns',
        'excludePatterns',
        'filterRules',
        'minSize',
        'maxSize',
        'modifiedSince',
        'modifiedBefore',
        'srcStorageClasses',
      ],
    },
    { id: 'archived', items: ['restoreArchived', 'restoreTier', 'restoreDays'] },
    {
      id: 'engine',
      paired: true,
      items: [
        'maxBytesPerSecond',
        'maxRequestsPerSecond',
        'minCapacity',
        'desiredCapacity',
        'maxCapacity',
        'workerNumber',
      ],
    },
    {
      id: 'tuning',
      paired: true,
      folded: true,
      items: [
        'multipartThreshold',
        'partSize',
        'giantObjectThreshold',
        'memoryBudget',
        'requestsInFlight',
        'checksumMode',
        'srcEtags',
        'verifyAfter',
        'serverSideCopy',
      ],
    },
    {
      id: 'aws',
      paired: true,
      folded: true,
      items: [
        'ec2VpcId',
        'ec2Subnets',
        'spotWorkers',
        'recordDays',
        'finderDepth',
        'finderNumber',
        'finderEc2Memory',
      ],
    },
  ],
};
