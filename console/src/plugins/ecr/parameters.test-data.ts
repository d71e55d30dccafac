import type { Parameter } from '../types';
import texts from './en.json';

const choice = (allowed: string[], standard = allowed[0] ?? '') => ({
  kind: 'choice',
  allowed,
  default: standard,
});
const number = (standard: string, minimum: number, maximum: number | null = null) => ({
  kind: 'number',
  default: standard,
  minimum,
  maximum,
});
const yes = { kind: 'boolean', default: 'true' };
const no = { kind: 'boolean', default: 'false' };
const list = { kind: 'list' };

const MORE: Record<string, Partial<Parameter>> = {
  sourceType: choice(['Amazon_ECR', 'Public', 'Registry']),
  destType: choice(['Amazon_ECR', 'Registry']),
  srcList: choice(['ALL', 'SELECTED']),
  srcPlainHttp: no,
  destPlainHttp: no,
  renameRules: list,
  destTagMutability: choice(Object.keys(texts.choices.destTagMutability.labels)),
  destMutabilityExclusions: list,
  destScanOnPush: no,
  destRepositoryTags: list,
  includeRepositories: list,
  excludeRepositories: list,
  includeTags: list,
  excludeTags: list,
  newestTags: number('', 1),
  platforms: list,
  includeUntagged: yes,
  includeReferrers: yes,
  repair: no,
  immutableTags: list,
  maxConcurrency: number('10', 1, 64),
  retries: number('3', 0, 10),
  copyTimeout: number('3600', 10),
  ec2CronExpression: { default: '0 0 * * ? *' },
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
