import { closeSync, constants, openSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { ReadStream } from 'node:tty';
import { VmError } from '../errors.ts';

/**
 * Opens a pseudo-terminal whose other end a VMM holds, and passes every byte on as it is. The stream ends when the VMM does.
 * @throws {VmError} VMM_GONE when it is not there any more, PERMISSION
 */
export function openPseudoTerminal(path: string): Duplex {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    const code = errno === 'EACCES' || errno === 'EPERM' ? 'PERMISSION' : 'VMM_GONE';
    throw new VmError(code, `the terminal ${path} cannot be opened: ${message}`, { path, errno, cause: error });
  }
  let terminal: ReadStream | undefined;
  try {
    terminal = new ReadStream(fd);
    // libuv opens a terminal of its own by the same name (uv_tty_init), and leaves ours to us.
    const handle = Reflect.get(terminal, '_handle') as { fd: number };
    if (handle.fd !== fd) closeSync(fd);
    terminal.setRawMode(true);
    // Read once its other end is closed, it fails with EIO (pty(7)): that is its end.
    const opened = terminal;
    opened.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EIO') opened.push(null);
    });
    return opened;
  } catch (error) {
    if (terminal === undefined) closeSync(fd);
    else terminal.destroy();
    throw VmError.from(error, 'IO', { path });
  }
}
