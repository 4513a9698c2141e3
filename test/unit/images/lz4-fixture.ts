/** A legacy LZ4 frame of one block. */
export function frame(block: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184c2102, 0);
  head.writeUInt32LE(block.length, 4);
  return Buffer.concat([head, block]);
}

/** A legacy LZ4 frame that holds bytes as they are. */
export function literalFrame(content: Buffer): Buffer {
  const above = content.length - 15;
  const lengths = above < 0 ? [] : [...Array.from({ length: Math.floor(above / 255) }, () => 255), above % 255];
  return frame(Buffer.concat([Buffer.from([Math.min(content.length, 15) << 4, ...lengths]), content]));
}
