/** The value below which this share of the sample lies. @param share 0 to 1 */
export function quantile(sample: readonly number[], share: number): number {
  if (sample.length === 0) throw new RangeError('no sample');
  const sorted = sample.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

export function median(sample: readonly number[]): number {
  return quantile(sample, 0.5);
}

/** A figure with its 95 % confidence interval. */
export interface Estimate {
  value: number;
  low: number;
  high: number;
}

/**
 * How many times as long the first of each pair took as the second: the median of the ratios, with a bootstrap interval. Pairs are
 * taken side by side, so that what else the host does falls on both, and by turns: two neighbours are one sample, since whoever comes
 * second finds the host as the other one has left it.
 */
export function ratio(pairs: readonly (readonly [number, number])[]): Estimate {
  const ratios = bothOrders(pairs).map(([ours, theirs]) => ours / theirs);
  const random = generator(ratios.length);
  const resampled = Array.from({ length: 4000 }, () =>
    median(ratios.map(() => ratios[Math.floor(random() * ratios.length)] ?? Number.NaN)),
  );
  return { value: median(ratios), low: quantile(resampled, 0.025), high: quantile(resampled, 0.975) };
}

/** The sums of each two neighbours; a last one without a neighbour stands for itself. */
function bothOrders(pairs: readonly (readonly [number, number])[]): [number, number][] {
  return pairs.flatMap(([one, other], at): [number, number][] => {
    if (at % 2 === 1) return [];
    const [more, another] = pairs[at + 1] ?? [0, 0];
    return [[one + more, other + another]];
  });
}

/** Numbers from 0 to 1, the same ones for the same seed (a 32-bit xorshift): the same measurements give the same interval. */
function generator(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
