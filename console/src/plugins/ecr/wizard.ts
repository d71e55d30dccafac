import { scheduleExamples, scheduleFields, scheduleNeeds, scheduleStep } from '../schedule';
import type { WizardPlan } from '../types';
import { SecretField } from '../SecretField';
import { ImageListField } from './ImageListField';
import { Plan } from './Plan';
import { applies, check, isEcr, needs } from './rules';
import { destination, settings, source } from './steps';

export const wizard: WizardPlan = {
  steps: [source, destination, settings, scheduleStep],
  start: {
    values: { scheduleRate: '1 day' },
    picks: { srcAccess: 'secret', destAccess: 'secret', images: 'all', schedule: 'cron' },
  },
  applies,
  needs: { ...needs, ...scheduleNeeds },
  standards: {},
  check,
  awsOnly: ['ecsClusterName', 'ecsVpcId', 'ecsSubnetA', 'ecsSubnetB'],
  // What was copied is remembered for these.
  fixed: [
    'sourceType',
    'srcRegistry',
    'srcRegion',
    'srcAccountId',
    'destType',
    'destRegistry',
    'destRegion',
    'destAccountId',
    'destPrefix',
  ],
  fields: {
    srcCredential: SecretField,
    destCredential: SecretField,
    srcImageList: ImageListField,
    ...scheduleFields,
  },
  secretKind: (form, name) => (isEcr(form, name === 'srcCredential' ? 'src' : 'dest') ? 'keys' : 'login'),
  choices: {},
  examples: {
    srcRegistry: 'quay.io',
    destRegistry: 'harbor.example.com',
    srcRegion: 'eu-central-1',
    destRegion: 'eu-central-1',
    srcAccountId: '123456789012',
    destAccountId: '123456789012',
    srcImageList: 'team/app:v1\nteam/api:ALL_TAGS\nteam/base@sha256:…',
    destPrefix: 'mirror',
    renameRules: 'team/*=prod/*\nteam/app:v1=prod/app:stable',
    srcRoleArn: 'arn:aws:iam::123456789012:role/transfer',
    destRoleArn: 'arn:aws:iam::123456789012:role/transfer',
    srcEndpoint: 'https://api.ecr.eu-central-1.amazonaws.com',
    destEndpoint: 'https://api.ecr.eu-central-1.amazonaws.com',
    srcCaBundle: 'corporate',
    destCaBundle: 'corporate',
    destMutabilityExclusions: 'latest\ndev-*',
    destKmsKey: 'arn:aws:kms:eu-central-1:123456789012:key/...',
    destRepositoryTags: 'team=platform',
    includeRepositories: 'team/*',
    excludeRepositories: '*/test',
    includeTags: 'v1.*\nregex:v\\d+',
    excludeTags: '*-rc*',
    newestTags: '5',
    pushedSince: '30d',
    platforms: 'linux/amd64\nlinux/arm64',
    immutableTags: 'v*',
    ...scheduleExamples,
  },
  Forecast: Plan,
};
