/** The candidate nearest to a word, or undefined when none is near. */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  // Longer words come from a mistake of another kind, and the comparison is quadratic.
  if (word.length > 64) return undefined;
  const plain = flatten(word);
  const longEnough = plain.length >= 3;
  const begun = candidates.find((name) => longEnough && flatten(name).startsWith(plain));
  if (begun !== undefined) return begun;
  const ranked = candidates
    .map((name) => ({ name, distance: editDistance(plain, flatten(name)) }))
    .toSorted((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(plain.length / 3)) ? best.name : undefined;
}

/** A word as it is compared: `_`, `-` and case don't count. */
export function flatten(name: string): string {
  return name.replaceAll(/[_\s-]/g, '').toLowerCase();
}

/** Levenshtein distance: insertions, deletions and replacements of one character. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replace = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replace, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    above = current;
  }
  return above[b.length] ?? 0;
}
