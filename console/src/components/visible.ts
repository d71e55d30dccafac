/** A piece of a key. `hidden`: it stands for characters that nobody would see, or that would move others. */
export interface Piece {
  at: number; // characters before it
  text: string;
  hidden: boolean;
}

// Controls, formats (zero width, directions, byte order marks), separators of lines, halves of pairs, unassigned.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Cn}\p{Co}]/u;
const ALL_HIDDEN = new RegExp(HIDDEN, 'gu');
const NAMES: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\0': '\\0' };

/** A key so that everything in it can be seen: a bucket's key can be made to look like another, or like two lines. */
export function pieces(key: string): Piece[] {
  const found: Piece[] = [];
  const characters = [...key];
  for (const [index, character] of characters.entries()) {
    const hidden = HIDDEN.test(character) || isLostSpace(characters, index);
    const text = hidden ? escape(character) : character;
    const last = found.at(-1);
    if (last && last.hidden === hidden) last.text += text;
    else found.push({ at: index, text, hidden });
  }
  return found;
}

/** Any other text: its spaces stay as they are. */
export const printable = (text: string) => text.replace(ALL_HIDDEN, escape);

/** A key as one text, for labels. */
export const visible = (key: string) =>
  pieces(key)
    .map((piece) => piece.text)
    .join('');

/** A space at an end or beside another one, and every space that is not the usual one. */
function isLostSpace(characters: string[], index: number): boolean {
  const character = characters[index] ?? '';
  if (!/\p{Zs}/u.test(character)) return false;
  const neighbours = [characters[index - 1], characters[index + 1]];
  return character !== ' ' || neighbours.some((each) => each === undefined || /\p{Zs}/u.test(each));
}

function escape(character: string): string {
  if (character === ' ') return '\u2423';
  const code = character.codePointAt(0) ?? 0;
  const digits = code.toString(16);
  return NAMES[character] ?? (code < 256 ? `\\x${digits.padStart(2, '0')}` : `\\u{${digits}}`);
}
