/** What a secret's form holds: the pairs of access keys that S3 stores know, or JSON of any other form. */
export interface SecretFields {
  kind: 'keys' | 'json';
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  roleArn: string;
  externalId: string;
  json: string;
}

export const NO_FIELDS: SecretFields = {
  kind: 'keys',
  accessKeyId: '',
  secretAccessKey: '',
  sessionToken: '',
  roleArn: '',
  externalId: '',
  json: '',
};

/** Nothing was typed: an update that leaves the value alone. */
export const isBlank = ({ kind, json, ...keys }: SecretFields) =>
  kind === 'json' ? !json.trim() : Object.values(keys).every((text) => !text.trim());

/** The value as the hub keeps it. */
export function valueOf(fields: SecretFields): string {
  if (fields.kind === 'json') return fields.json.trim();
  const given = {
    access_key_id: fields.accessKeyId,
    secret_access_key: fields.secretAccessKey,
    session_token: fields.sessionToken,
    role_arn: fields.roleArn,
    external_id: fields.externalId,
  };
  // Pasted keys often bring a space or a line end along.
  const pairs = Object.entries(given).map(([name, text]) => [name, text.trim()] as const);
  return JSON.stringify(Object.fromEntries(pairs.filter(([, text]) => text)));
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
