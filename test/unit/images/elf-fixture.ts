/** A 64-bit ELF file with these sections, in order, and a table of their names: as much as a kernel or a module needs. */
export function elfFile(sections: Record<string, Buffer>): Buffer {
  const names = ['', ...Object.keys(sections), '.shstrtab'];
  const table = Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1');
  const contents = [Buffer.alloc(0), ...Object.values(sections), table];
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  const headers: Buffer[] = [];
  let offset = header.length;
  contents.forEach((content, index) => {
    const entry = Buffer.alloc(64);
    const nameAt = names.slice(0, index).reduce((sum, name) => sum + name.length + 1, 0);
    entry.writeUInt32LE(nameAt, 0);
    entry.writeUInt32LE(index === 0 ? 0 : 1, 4);
    entry.writeBigUInt64LE(BigInt(offset), 24);
    entry.writeBigUInt64LE(BigInt(content.length), 32);
    headers.push(entry);
    offset += content.length;
  });
  header.writeBigUInt64LE(BigInt(offset), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(headers.length, 60);
  header.writeUInt16LE(headers.length - 1, 62);
  return Buffer.concat([header, ...contents, ...headers]);
}

/** A kernel module that says these things of itself. */
export function moduleFile(info: readonly string[], more: Record<string, Buffer> = {}): Buffer {
  return elfFile({ '.modinfo': Buffer.from(info.map((line) => `${line}\0`).join(''), 'latin1'), ...more });
}

/** The end that the kernel's build gives a signed module. */
export function signature(bytes: number): Buffer {
  const info = Buffer.alloc(12);
  info.writeUInt32BE(bytes, 8);
  return Buffer.concat([Buffer.alloc(bytes, 0x55), info, Buffer.from('~Module signature appended~\n')]);
}
