import { literalFrame } from './lz4-fixture.ts';

/** A bzImage that holds this kernel. */
export function bzImage(kernel: Buffer, options: { payload?: Buffer } = {}): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(kernel.length);
  const payload = options.payload ?? Buffer.concat([literalFrame(kernel), size]);
  const head = Buffer.alloc(1024);
  head[0x1f1] = 1;
  head.write('HdrS', 0x202, 'latin1');
  head.writeUInt16LE(0x020f, 0x206);
  head.writeUInt32LE(16, 0x248);
  head.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([head, Buffer.alloc(16), payload]);
}
