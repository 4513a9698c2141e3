import type { Scratch } from './programs.ts';

/**
 * An agent for the mock, as `fakeAgent`, that is honest until the guest is up, and then does what `mischief` says with each frame
 * (`type`, `stream`, `payload`) that isn't SYNC, INFO, PING or CREDIT. Written against docs/agent-protocol.md alone. At hand are
 * `T`, `send(type, stream, payload)`, `fields([tag, value], ...)`, `raw(bytes)` and `forever(step)`, which does a step whenever
 * the host has taken the last one.
 */
export function hostileAgent(at: Scratch, mischief: string): string {
  const text = `
    const net = require('node:net');
    const T = { hello: 1, error: 2, ping: 3, pong: 4, event: 5, spawn: 16, started: 17, data: 18, credit: 19, signal: 20, exit: 22,
      cancel: 23, dial: 34, listen: 35, accepted: 36, done: 37, sync: 48, info: 51, poweroff: 52 };
    const field = ([tag, value]) => {
      const bytes = Buffer.alloc(typeof value === 'string' ? 0 : 8);
      if (typeof value !== 'string') bytes.writeBigUInt64LE(BigInt(value));
      const body = typeof value === 'string' ? Buffer.from(value) : bytes;
      const header = Buffer.alloc(8);
      header.writeUInt16LE(tag, 0);
      header.writeUInt32LE(body.length, 4);
      return Buffer.concat([header, body]);
    };
    const fields = (...list) => Buffer.concat(list.map(field));
    const frame = (type, stream, payload = Buffer.alloc(0), length = payload.length) => {
      const header = Buffer.alloc(12);
      header[0] = 0xa5;
      header[1] = type;
      header.writeUInt32LE(stream, 4);
      header.writeUInt32LE(length, 8);
      return Buffer.concat([header, payload]);
    };
    const data = (channel, bytes) => Buffer.concat([Buffer.of(channel), Buffer.from(bytes)]);
    const features = 'spawn pty signal detach sync info poweroff dial listen online';
    function serve(socket) {
      let bytes = Buffer.alloc(0);
      let open = false;
      const raw = (out) => !socket.destroyed && socket.write(out);
      const send = (type, stream, payload, length) => raw(frame(type, stream, payload, length));
      const forever = (step) => { while (!socket.destroyed && !socket.writableNeedDrain) step(); socket.once('drain', () => forever(step)); };
      const onFrame = (type, stream, payload) => { ${mischief} };
      socket.on('data', (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        if (!open) {
          const start = bytes.indexOf('PVAGENT1');
          if (start < 0 || bytes.length < start + 24) return;
          raw(bytes.subarray(start, start + 24));
          send(T.hello, 0, fields([1, 1], [2, features], [3, '\\x1b[2J0.1'], [4, 'boot']));
          bytes = bytes.subarray(start + 24);
          open = true;
        }
        while (bytes.length >= 12 && bytes.length >= 12 + bytes.readUInt32LE(8)) {
          const [type, stream, length] = [bytes[1], bytes.readUInt32LE(4), bytes.readUInt32LE(8)];
          const payload = bytes.subarray(12, 12 + length);
          bytes = bytes.subarray(12 + length);
          if (type === T.sync) send(T.done, stream);
          else if (type === T.ping) send(T.pong, 0, payload);
          else if (type !== T.hello && type !== T.credit) onFrame(type, stream, payload);
        }
      });
    }
    let count = 0;
    for (let channel = 0; channel < 8; channel++) {
      net.createServer((socket) => {
        socket.on('error', () => {});
        // The first one is only the driver's look whether it is there.
        if (channel > 0 || count++ > 0) serve(socket);
      }).listen(process.argv[3] + '/agent' + channel + '.sock');
    }
  `;
  return at.program('hostile-agent.cjs', text);
}
