// Whoever may write to a source chooses its keys, and a spreadsheet takes such a cell for a formula.
const FORMULA = /(?:^|[;\n])[\s"]*[=+@\-\uff1d\uff0b\uff0d\uff20]/;

function cell(value: string | number | null): string {
  const text = String(value ?? '');
  const marked =
    typeof value === 'string' && (FORMULA.test(text) || text.startsWith("'")) ? `'${text}` : text;
  return /[",\r\n]/.test(marked) ? `"${marked.replaceAll('"', '""')}"` : marked;
}

/** Rows as a spreadsheet reads them. */
export const asCsv = <Name extends string>(
  names: readonly Name[],
  rows: readonly Record<Name, string | number | null>[],
) =>
  [names.join(','), ...rows.map((row) => names.map((name) => cell(row[name])).join(','))].join('\r\n') +
  '\r\n';
