const UNITS = ['', 'K', 'M', 'G', 'T'];

/** The bytes that `16MiB`, `1.5G` or `100k` says; NaN for what is not a size. Units are binary, as the hub reads them. */
export function amount(text: string): number {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$/i.exec(text);
  if (!found) return NaN;
  return Math.floor(Number(found[1]) * 1024 ** UNITS.indexOf((found[2] ?? '').toUpperCase()));
}

/** Bytes in the largest unit that says them exactly, as it may be typed. */
export function sizeText(bytes: number): string {
  const step = UNITS.findLastIndex((_, step) => bytes > 0 && bytes % 1024 ** step === 0);
  return step > 0 ? `${bytes / 1024 ** step} ${UNITS[step]}iB` : String(bytes);
}
