import { lstat } from 'node:fs/promises';
import path from 'node:path';

/**
 * Whether one of the patterns stands for the path, as Go's filepath.Glob reads them: `*` and `?` stay within a name, `[a-z]` and
 * `[^a-z]` are sets, `\` takes the meaning of the next character away. The path must exist, and be without `.`, `..` and double
 * slashes, which no pattern stands for.
 */
export async function matchesOne(patterns: readonly string[], value: string): Promise<boolean> {
  if (!path.isAbsolute(value) || path.normalize(value) !== value) return false;
  if (!patterns.some((pattern) => matchesPattern(pattern, value))) return false;
  return lstat(value).then(
    () => true,
    () => false,
  );
}

/** Whether the pattern stands for the text; a pattern that is none, such as `[`, stands for nothing. */
export function matchesPattern(pattern: string, text: string): boolean {
  const names = pattern.split('/');
  const parts = text.split('/');
  return names.length === parts.length && names.every((name, at) => matchesName(name, parts[at] ?? ''));
}

/** Without regular expressions: their time can grow beyond all bounds with the pattern. */
function matchesName(pattern: string, name: string): boolean {
  const tokens = tokensOf(pattern);
  if (tokens === undefined) return false;
  const text = Array.from(name);
  // Places in the tokens that may be reached after each character.
  let places = afterStars(tokens, new Set([0]));
  for (const character of text) {
    const next = new Set<number>();
    for (const place of places) {
      const token = tokens[place];
      if (token === '*') next.add(place);
      else if (token?.(character) === true) next.add(place + 1);
    }
    places = afterStars(tokens, next);
  }
  return places.has(tokens.length);
}

type Token = '*' | ((character: string) => boolean);

function afterStars(tokens: readonly Token[], places: ReadonlySet<number>): Set<number> {
  const reached = new Set(places);
  for (const place of reached) if (tokens[place] === '*') reached.add(place + 1);
  return reached;
}

function tokensOf(pattern: string): Token[] | undefined {
  const tokens: Token[] = [];
  const characters = Array.from(pattern);
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at];
    if (character === '*') tokens.push('*');
    else if (character === '?') tokens.push(() => true);
    else if (character === '[') {
      const end = characters.indexOf(']', at + 1);
      const set = setOf(characters.slice(at + 1, end));
      if (end < 0 || set === undefined) return undefined;
      tokens.push(set);
      at = end;
    } else {
      const literal = character === '\\' ? characters[++at] : character;
      if (literal === undefined) return undefined;
      tokens.push((it) => it === literal);
    }
  }
  return tokens;
}

/** What stands between brackets; undefined when it is no set. */
function setOf(characters: readonly string[]): Token | undefined {
  const negated = characters[0] === '^';
  const inside = negated ? characters.slice(1) : characters;
  if (inside.length === 0 || inside.includes('\\')) return undefined;
  const ranges: [string, string][] = [];
  for (let at = 0; at < inside.length; at++) {
    const low = inside[at] ?? '';
    const isRange = inside[at + 1] === '-' && at + 2 < inside.length;
    ranges.push([low, isRange ? (inside[at + 2] ?? low) : low]);
    if (isRange) at += 2;
  }
  return (it) => ranges.some(([low, high]) => low <= it && it <= high) !== negated;
}
