import { useTranslation } from 'react-i18next';
import { type Language, LOCALES } from './i18n';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

const made = new Map<string, Intl.DateTimeFormat>();

/** To make a format takes longer than to use it, and a page has thousands of times. */
function dateFormat(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = locale + JSON.stringify(options);
  const format = made.get(key) ?? new Intl.DateTimeFormat(locale, options);
  made.set(key, format);
  return format;
}

/** Numbers, sizes and times as the user's language and time zone have them. What is not known is a dash. */
export function useFormat() {
  const { t, i18n } = useTranslation();
  const locale = LOCALES[i18n.language as Language];
  const number = (value: number | null | undefined, digits = 0) =>
    value === null || value === undefined
      ? '-'
      : new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);

  function bytes(value: number | null | undefined): string {
    if (value === null || value === undefined) return '-';
    const step = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10));
    const scaled = value / 1024 ** step;
    return `${number(scaled, step === 0 || scaled >= 100 ? 0 : 1)} ${UNITS[step]}`;
  }

  /** The two largest units of a time in seconds. */
  function duration(seconds: number | null | undefined): string {
    if (seconds === null || seconds === undefined || seconds < 0) return '-';
    const whole = Math.round(seconds);
    const parts = [
      ['days', Math.floor(whole / 86_400)],
      ['hours', Math.floor((whole % 86_400) / 3600)],
      ['minutes', Math.floor((whole % 3600) / 60)],
      ['seconds', whole % 60],
    ] as const;
    const first = parts.findIndex(([, count]) => count > 0);
    if (first < 0) return t('format.seconds', { count: 0 });
    return parts
      .slice(first, first + 2)
      .filter(([, count]) => count > 0)
      .map(([unit, count]) => t(`format.${unit}`, { count }))
      .join(' ');
  }

  return {
    locale,
    number,
    bytes,
    duration,
    rate: (perSecond: number | null | undefined) =>
      perSecond === null || perSecond === undefined
        ? '-'
        : t('format.perSecond', { amount: bytes(perSecond) }),
    percent: (part: number, whole: number) =>
      whole > 0
        ? new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 }).format(part / whole)
        : '-',
    money: (dollars: number | null | undefined) =>
      dollars === null || dollars === undefined
        ? '-'
        : new Intl.NumberFormat(locale, {
            style: 'currency',
            currency: 'USD',
            maximumFractionDigits: Math.abs(dollars) < 0.1 && dollars !== 0 ? 4 : 2,
          }).format(dollars),
    /** Like `when`, and says in which time zone: for times that were written in another one. */
    whenHere: (moment: string | number | null | undefined) =>
      moment === null || moment === undefined || moment === ''
        ? '-'
        : dateFormat(locale, {
            year: 'numeric',
            month: 'short',
            day: 'numeric',
            hour: 'numeric',
            minute: '2-digit',
            second: '2-digit',
            timeZoneName: 'short',
          }).format(new Date(moment)),
    /** An ISO text or a number of milliseconds. */
    when: (moment: string | number | null | undefined) =>
      moment === null || moment === undefined || moment === ''
        ? '-'
        : dateFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(moment)),
  };
}
