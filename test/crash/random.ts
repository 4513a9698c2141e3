/** What is chosen at random is chosen from this number, which is printed: with it in POLYVISOR_SEED a run can be done again. */
export const seed: number = Number(process.env['POLYVISOR_SEED'] ?? Date.now() % 1_000_000);

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
