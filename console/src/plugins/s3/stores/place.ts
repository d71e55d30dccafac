/** A bucket and a prefix in it. */
export interface Place {
  bucket: string;
  prefix: string;
}

/** The bucket and prefix in a text such as `s3://bucket/prefix`, which may stand anywhere; null for any other text. */
export function placeIn(text: string): Place | null {
  const found = /^s3:\/\/(arn:[^/]*:accesspoint[/:][^/]*|[^/]*)\/?(.*)$/is.exec(text.trim());
  return found?.[1] ? { bucket: found[1], prefix: found[2] ?? '' } : null;
}

/** The folders from the bucket down to the prefix, each with the prefix that leads there. */
export function trailOf(prefix: string): { text: string; prefix: string }[] {
  const ends = [...prefix.matchAll(/\//g)].map((match) => match.index + 1);
  return ends.map((end, place) => ({
    text: prefix.slice(ends[place - 1] ?? 0, end - 1),
    prefix: prefix.slice(0, end),
  }));
}

/** What a key or a prefix is called within its folder. */
export const nameIn = (folder: string, key: string) =>
  key.startsWith(folder) ? key.slice(folder.length) : key;
