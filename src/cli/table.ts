/** Blanks between two columns. */
const gap = '   ';

/**
 * Rows under their headings, in columns as wide as their widest cell. The columns are the same whatever the rows are; an empty
 * cell is a `-`, so that a row always has as many words as there are columns when no cell holds blanks.
 */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows.map((row) => headings.map((_, at) => row[at] || '-'))];
  const widths = headings.map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)));
  return cells
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join(gap)
        .trimEnd(),
    )
    .join('\n');
}
