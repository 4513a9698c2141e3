/*
 * What getfattr(1) prints and setfattr(1) reads: for each file a line `# file: PATH`, then a line `NAME=0sBASE64` for each attribute, then an empty
 * one. Paths are bytes, here as latin1; some of them, and the backslash, are written as three octal digits.
 */

/** Attributes of files, by their paths. */
export type XattrsByPath = ReadonlyMap<string, ReadonlyMap<string, Buffer>>;

/** Reads it. Lines that are no attributes are left out. */
export function parseXattrs(text: string): XattrsByPath {
  const found = new Map<string, Map<string, Buffer>>();
  let attributes: Map<string, Buffer> | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith('# file: ')) {
      attributes = new Map();
      found.set(unquoted(line.slice('# file: '.length)), attributes);
      continue;
    }
    const [, name, value] = /^([^=]+)(?:=0s([A-Za-z0-9+/=]*))?$/.exec(line) ?? [];
    if (name !== undefined) attributes?.set(unquoted(name), Buffer.from(value ?? '', 'base64'));
  }
  return found;
}

/** Writes one file of it. */
export function xattrText(path: string, attributes: ReadonlyMap<string, Buffer>): string {
  // An empty value of that kind is one that setfattr passes over.
  const written = (value: Buffer): string => (value.length === 0 ? '' : `=0s${value.toString('base64')}`);
  const lines = [...attributes].map(([name, value]) => `${quoted(name)}${written(value)}`);
  return `# file: ${quoted(path)}\n${lines.join('\n')}\n\n`;
}

function unquoted(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function quoted(text: string): string {
  return text.replaceAll(/[\\\n\r=]/g, (it) => `\\${it.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
