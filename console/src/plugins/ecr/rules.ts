import { scheduleProblems } from '../schedule';
import type { Problem, Reading, WizardPlan } from '../types';

export const isEcr = (form: Reading, side: 'src' | 'dest') =>
  form.value(side === 'src' ? 'sourceType' : 'destType') === 'Amazon_ECR';
export const isPublic = (form: Reading) => form.value('sourceType') === 'Public';

const fromEcr = (form: Reading) => isEcr(form, 'src');
const toEcr = (form: Reading) => isEcr(form, 'dest');
const isNamed = (form: Reading) => form.picked('images') === 'selected';
/** Whether the task finds tags by itself: of what is named by its tag, none are left out. */
const findsTags = (form: Reading) => !isNamed(form) || /:ALL_TAGS\b/.test(form.value('srcImageList'));
const findsRepositories = (form: Reading) => !isNamed(form);

export const applies: WizardPlan['applies'] = {
  srcRegistry: (form) => form.value('sourceType') === 'Registry',
  srcRegion: fromEcr,
  srcAccountId: fromEcr,
  srcCredential: (form) => !isPublic(form),
  srcProfile: fromEcr,
  srcRoleArn: fromEcr,
  srcExternalId: (form) => form.given('srcRoleArn'),
  srcEndpoint: fromEcr,
  srcRegistryHost: fromEcr,
  srcCaBundle: (form) => !isPublic(form),
  srcPlainHttp: (form) => form.value('sourceType') === 'Registry',
  includeRepositories: findsRepositories,
  excludeRepositories: findsRepositories,
  includeTags: findsTags,
  excludeTags: findsTags,
  newestTags: findsTags,
  pushedSince: findsTags,
  includeUntagged: (form) => fromEcr(form) && findsTags(form) && !form.given('platforms'),
  destRegistry: (form) => !toEcr(form),
  destRegion: toEcr,
  destAccountId: toEcr,
  destProfile: toEcr,
  destRoleArn: toEcr,
  destExternalId: (form) => form.given('destRoleArn'),
  destEndpoint: toEcr,
  destRegistryHost: toEcr,
  destPlainHttp: (form) => !toEcr(form),
  destTagMutability: toEcr,
  destMutabilityExclusions: (form) => toEcr(form) && form.value('destTagMutability').endsWith('_EXCLUSION'),
  destScanOnPush: toEcr,
  destKmsKey: toEcr,
  destRepositoryTags: toEcr,
};

const always = () => true; // where they apply

export const needs: WizardPlan['needs'] = {
  srcRegion: always,
  srcImageList: always,
  srcCredential: always,
  srcProfile: always,
  destRegistry: always,
  destRegion: always,
  destCredential: always,
  destProfile: always,
  destMutabilityExclusions: always,
};

const HOST = /^(\[[\da-f:.]+\]|[a-z\d]([a-z\d.-]*[a-z\d])?)(:\d{1,5})?$/i;
const REPOSITORY = /^[a-z\d]+((\.|_|__|-+)[a-z\d]+)*(\/[a-z\d]+((\.|_|__|-+)[a-z\d]+)*)*$/;
const PLATFORM = /^[a-z\d]+\/[a-z\d_]+(\/[a-z\d.]+)?$/;
const MOMENT = /^(\d+[smhdw]|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)$/;
const linesOf = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

const each = (isGood: (line: string) => boolean) => (text: string) => linesOf(text).every(isGood);

export function check(form: Reading): Record<string, Problem> {
  const found = scheduleProblems(form);
  const refuse = (names: string[], isGood: (text: string) => boolean, key: Problem) => {
    for (const name of names) if (form.given(name) && !isGood(form.value(name))) found[name] = key;
  };
  refuse(['srcRegistry', 'destRegistry', 'srcRegistryHost', 'destRegistryHost'], (text) => HOST.test(text), {
    key: 'ecr.problems.host',
  });
  refuse(['srcAccountId', 'destAccountId'], (text) => /^\d{12}$/.test(text), { key: 'ecr.problems.account' });
  refuse(['destPrefix'], (text) => REPOSITORY.test(text.replace(/^\/+|\/+$/g, '')), {
    key: 'ecr.problems.repository',
  });
  refuse(
    ['renameRules'],
    each((line) => /^[^=\s]+=[^=\s]+$/.test(line)),
    { key: 'ecr.problems.rename' },
  );
  refuse(
    ['platforms'],
    each((line) => PLATFORM.test(line)),
    { key: 'ecr.problems.platform' },
  );
  refuse(
    ['destRepositoryTags'],
    each((line) => /^[^=]+=/.test(line)),
    { key: 'ecr.problems.tag' },
  );
  refuse(['pushedSince'], (text) => MOMENT.test(text), { key: 'ecr.problems.moment' });
  return found;
}
