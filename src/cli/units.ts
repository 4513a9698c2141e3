const steps: readonly [string, number][] = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
];

/** How long ago something was, as one number and a unit: `5s`, `3m`, `2h`, `4d`. */
export function age(sinceIso: string, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(sinceIso)) / 1000));
  if (Number.isNaN(seconds)) return '';
  const [unit, size] = steps.find(([, each]) => seconds >= each) ?? ['s', 1];
  return `${Math.floor(seconds / size)}${unit}`;
}

/** Milliseconds for people: `40 ms`, `2.9 s`, `75 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 60_000 ? 1 : 0)} s`;
}

/** Bytes in MiB, with one decimal. */
export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
