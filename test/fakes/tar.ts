/** A tar archive as somebody hostile makes it: any field may be wrong. Made apart from the product's own writer. */
export interface Forged {
  name: string | Buffer;
  /** '0' a file, '5' a folder, ... */
  type?: string;
  body?: Buffer | string;
  link?: string;
  mode?: number;
  uid?: number;
  mtime?: number;
  /** what the header says, whatever the body is */
  size?: number;
  magic?: string;
  /** added to the right one */
  checksumOff?: number;
}

/** One entry: its header, and its body up to a whole block. */
export function forge(entry: Forged): Buffer {
  const body = Buffer.from(entry.body ?? '');
  const block = Buffer.alloc(512);
  const octal = (at: number, digits: number, value: number): void => {
    block.write(value.toString(8).padStart(digits, '0'), at);
  };
  Buffer.from(entry.name as string).copy(block, 0, 0, 100);
  octal(100, 7, entry.mode ?? (entry.type === '5' ? 0o755 : 0o644));
  octal(108, 7, entry.uid ?? 0);
  octal(116, 7, entry.uid ?? 0);
  octal(124, 11, entry.size ?? body.length);
  octal(136, 11, entry.mtime ?? 1_000_000_000);
  block.write(entry.type ?? '0', 156);
  block.write(entry.link ?? '', 157, 100);
  block.write(entry.magic ?? 'ustar\u000000', 257, 'latin1');
  block.fill(' ', 148, 156);
  let sum = entry.checksumOff ?? 0;
  for (const byte of block) sum += byte;
  octal(148, 6, sum);
  block.write('\0 ', 154, 'latin1');
  return Buffer.concat([block, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

/** An extended header, for the entry that follows it. */
export function pax(fields: Record<string, string | Buffer>, type = 'x'): Buffer {
  const records = Object.entries(fields).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')]);
    let length = rest.length;
    while (String(length).length + rest.length !== length) length += 1;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return forge({ name: 'pax', type, body: Buffer.concat(records) });
}

export const trailer: Buffer = Buffer.alloc(1024);

/** A whole archive. */
export function archive(...parts: (Forged | Buffer)[]): Buffer {
  return Buffer.concat([...parts.map((it) => (Buffer.isBuffer(it) ? it : forge(it))), trailer]);
}
