import type { Step } from '../types';
import { isEcr, isPublic } from './rules';
import { TestDestination, TestSource } from './TestConnection';

export const source: Step = {
  id: 'source',
  sections: [
    { id: 'sourceRegistry', items: ['sourceType', 'srcRegistry', 'srcRegion', 'srcAccountId'] },
    {
      id: 'sourceAccess',
      applies: (form) => !isPublic(form),
      items: [
        {
          id: 'srcAccess',
          options: [
            { id: 'secret', parameters: ['srcCredential'] },
            { id: 'profile', parameters: ['srcProfile'], applies: (form) => isEcr(form, 'src') },
            { id: 'hub', parameters: [] },
          ],
        },
        'srcRoleArn',
        'srcExternalId',
      ],
    },
    {
      id: 'images',
      items: [
        {
          id: 'images',
          options: [
            {
              id: 'all',
              parameters: [],
              sets: { srcList: 'ALL' },
              applies: (form) => !isPublic(form),
            },
            { id: 'selected', parameters: ['srcImageList'], sets: { srcList: 'SELECTED' } },
          ],
        },
      ],
    },
    {
      id: 'sourceConnection',
      folded: true,
      items: ['srcEndpoint', 'srcRegistryHost', 'srcCaBundle', 'srcPlainHttp'],
    },
  ],
  After: TestSource,
};

export const destination: Step = {
  id: 'destination',
  sections: [
    {
      id: 'destinationRegistry',
      items: ['destType', 'destRegistry', 'destRegion', 'destAccountId', 'destPrefix', 'renameRules'],
    },
    {
      id: 'destinationAccess',
      items: [
        {
          id: 'destAccess',
          options: [
            { id: 'secret', parameters: ['destCredential'] },
            { id: 'profile', parameters: ['destProfile'], applies: (form) => isEcr(form, 'dest') },
            { id: 'hub', parameters: [] },
          ],
        },
        'destRoleArn',
        'destExternalId',
      ],
    },
    {
      id: 'repositories',
      items: [
        'destTagMutability',
        'destMutabilityExclusions',
        'destScanOnPush',
        'destKmsKey',
        'destRepositoryTags',
      ],
    },
    {
      id: 'destinationConnection',
      folded: true,
      items: ['destEndpoint', 'destRegistryHost', 'destCaBundle', 'destPlainHttp'],
    },
  ],
  After: TestDestination,
};

export const settings: Step = {
  id: 'settings',
  optional: true,
  sections: [
    {
      id: 'filters',
      paired: true,
      items: [
        'includeRepositories',
        'excludeRepositories',
        'includeTags',
        'excludeTags',
        'newestTags',
        'pushedSince',
        'platforms',
        'immutableTags',
      ],
    },
    { id: 'along', items: ['includeUntagged', 'includeReferrers', 'repair'] },
    { id: 'engine', paired: true, items: ['maxConcurrency', 'retries', 'copyTimeout'] },
    {
      id: 'aws',
      paired: true,
      folded: true,
      items: ['ecsClusterName', 'ecsVpcId', 'ecsSubnetA', 'ecsSubnetB'],
    },
  ],
};
