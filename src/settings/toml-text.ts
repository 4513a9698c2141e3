/** A line of a file of ours: an option, its value, and a word about it. */
export interface TomlLine {
  readonly name: string;
  readonly value: unknown;
  readonly comment?: string;
}

/** Options as the section `[vm]` of a file of our own. */
export function tomlText(lines: readonly TomlLine[]): string {
  const said = lines.map(({ name, value, comment }) => {
    const remark = comment === undefined ? '' : ` # ${oneLine(comment)}`;
    return `${name} = ${tomlValue(value)}${remark}`;
  });
  return ['[vm]', ...said].join('\n');
}

/** A comment, which ends with its line. */
export function tomlComment(text: string): string {
  return text
    .split('\n')
    .map((line) => `# ${oneLine(line)}`.trimEnd())
    .join('\n');
}

function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ');
}

/** A value of an option. JSON's texts, numbers and lists are TOML's, too, but for two characters. */
function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value).filter(([, it]) => it !== undefined);
    return `{ ${pairs.map(([key, it]) => `${key} = ${tomlValue(it)}`).join(', ')} }`;
  }
  return JSON.stringify(value).replaceAll('\u007F', '\\u007F');
}
