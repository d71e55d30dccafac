/** What a secret's form holds: the access keys of S3 stores and AWS, the login of a registry, or JSON of any other form. */
export interface SecretFields {
  kind: 'keys' | 'login' | 'json';
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  roleArn: string;
  externalId: string;
  username: string;
  password: string;
  json: string;
}

export const NO_FIELDS: SecretFields = {
  kind: 'keys',
  accessKeyId: '',
  secretAccessKey: '',
  sessionToken: '',
  roleArn: '',
  externalId: '',
  username: '',
  password: '',
  json: '',
};

/** The pairs of the chosen kind. Pasted texts often bring a space or a line end along; a password may be meant so. */
function pairsOf(fields: SecretFields): Record<string, string> {
  if (fields.kind === 'login') return { username: fields.username.trim(), password: fields.password };
  return {
    access_key_id: fields.accessKeyId.trim(),
    secret_access_key: fields.secretAccessKey.trim(),
    session_token: fields.sessionToken.trim(),
    role_arn: fields.roleArn.trim(),
    external_id: fields.externalId.trim(),
  };
}

/** Nothing was typed: an update that leaves the value alone. */
export const isBlank = (fields: SecretFields) =>
  fields.kind === 'json' ? !fields.json.trim() : Object.values(pairsOf(fields)).every((text) => !text);

/** Whether what the kind cannot do without was typed. */
export const isComplete = (fields: SecretFields) =>
  fields.kind === 'json'
    ? isObjectOfTexts(fields.json)
    : fields.kind === 'login'
      ? fields.username.trim() !== '' && fields.password !== ''
      : fields.accessKeyId.trim() !== '' && fields.secretAccessKey.trim() !== '';

/** The value as the hub keeps it. */
export function valueOf(fields: SecretFields): string {
  if (fields.kind === 'json') return fields.json.trim();
  return JSON.stringify(Object.fromEntries(Object.entries(pairsOf(fields)).filter(([, text]) => text)));
}

/** Whether a text is a JSON object with texts as values, as the hub wants it. */
export function isObjectOfTexts(text: string): boolean {
  try {
    const found: unknown = JSON.parse(text);
    return (
      typeof found === 'object' &&
      found !== null &&
      !Array.isArray(found) &&
      Object.keys(found).length > 0 &&
      Object.values(found).every((each) => typeof each === 'string')
    );
  } catch {
    return false;
  }
}

/** Whether a secret that is bound to these hosts may be used with any. */
export const isUnbound = (hosts: string[] | undefined) => Boolean(hosts?.includes('*'));
