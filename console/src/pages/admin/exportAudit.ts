import { AdminAuditDocument, type AdminAuditQuery, type AdminAuditQueryVariables } from '../../api/generated';
import type { Api } from '../../api/client';
import { asCsv } from '../../components/csv';

type Entry = AdminAuditQuery['listAudit']['items'][number];
const PAGE = 1000;
/** The most that a browser is asked to keep. */
export const MOST = 100_000;
const FIELDS = ['id', 'at', 'who', 'via', 'what', 'target', 'outcome', 'detail'] as const;

/** The file with what the filters choose, newest first, and whether that is not everything. */
export async function exportAudit(
  api: Api,
  filters: Pick<AdminAuditQueryVariables, 'who' | 'target' | 'what' | 'since' | 'until'>,
  format: 'csv' | 'json',
): Promise<{ content: string; more: boolean }> {
  // What happens meanwhile would move the pages.
  const until = filters.until ?? new Date().toISOString();
  const found: Entry[] = [];
  for (let page = 1; ; page++) {
    const { listAudit } = await api.request(AdminAuditDocument, { ...filters, until, page, count: PAGE });
    found.push(...listAudit.items);
    const more = found.length < listAudit.total && listAudit.items.length > 0;
    if (!more || found.length >= MOST) {
      const content = format === 'csv' ? asCsv(FIELDS, found) : JSON.stringify(found, null, 1);
      return { content, more };
    }
  }
}
