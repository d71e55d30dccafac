import { type FindingsQuery, FindingsDocument, type FindingsQueryVariables } from '../../api/generated';
import type { Api } from '../../api/client';
import { asCsv } from '../../components/csv';

type Finding = FindingsQuery['listFindings']['items'][number];
const PAGE = 1000;
/** The most that a browser is asked to keep; the command line writes any number. */
export const MOST = 100_000;
const FIELDS = ['key', 'state', 'size', 'destSize', 'etag', 'reason'] as const;

/** The file with what the filters choose, and whether that is not everything. */
export async function exportFindings(
  api: Api,
  filters: Pick<FindingsQueryVariables, 'id' | 'states' | 'prefix'>,
  format: 'csv' | 'json',
): Promise<{ content: string; more: boolean }> {
  const found: Finding[] = [];
  let nextToken: string | null = null;
  do {
    const answer: FindingsQuery = await api.request(FindingsDocument, { ...filters, limit: PAGE, nextToken });
    found.push(...answer.listFindings.items);
    nextToken = answer.listFindings.nextToken;
  } while (nextToken && found.length < MOST);
  const content = format === 'csv' ? asCsv(FIELDS, found) : JSON.stringify(found, null, 1);
  return { content, more: nextToken !== null };
}
