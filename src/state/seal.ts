import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { link, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';
import { type Places, sealKeyFile } from './paths.ts';
import { ensurePrivateFolder } from './private-folder.ts';

/*
 * What a VMM is restored from is trusted: whoever writes it decides what the VMM does. So what we save carries a digest that only a
 * holder of this user's key can make (HMAC-SHA-256).
 */

const keyBytes = 32;

/** Makes and checks the digests of one user's state. */
export interface Seal {
  /** hexadecimal */
  of(text: string): string;
  fits(text: string, digest: unknown): boolean;
}

/**
 * The seal of a state folder; its key is made when it is first asked for.
 * @throws {VmError} PERMISSION when the key is another user's or open to others, STATE_INVALID when it is no key, IO
 */
export async function openSeal(at: Places): Promise<Seal> {
  const file = sealKeyFile(at);
  const key = readKey(file) ?? (await makeKey(at, file));
  const of = (text: string): string => createHmac('sha256', key).update(text).digest('hex');
  return {
    of,
    fits: (text, digest) => {
      if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/.test(digest)) return false;
      return timingSafeEqual(Buffer.from(digest, 'hex'), Buffer.from(of(text), 'hex'));
    },
  };
}

function readKey(file: string): Buffer | undefined {
  let key: Buffer;
  try {
    const fd = openSync(file, 'r');
    try {
      const { mode, uid } = fstatSync(fd);
      if ((mode & 0o077) !== 0 || uid !== process.geteuid?.())
        throw new VmError('PERMISSION', `${file} belongs to another user, or is open to others`, {
          path: file,
          advice:
            'Remove it: a new one is made, and snapshots and templates made so far are then not trusted any more.',
        });
      key = readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw VmError.from(error, 'IO', { path: file });
  }
  if (key.length === keyBytes) return key;
  throw new VmError('STATE_INVALID', `${file} is not a key`, {
    path: file,
    advice: 'Remove it: a new one is made, and snapshots and templates made so far are then not trusted any more.',
  });
}

/** Of two who make one at once, both use the one that got the name. */
async function makeKey(at: Places, file: string): Promise<Buffer> {
  await ensurePrivateFolder(at.state);
  const fresh = path.join(path.dirname(file), `.seal-key.${randomBytes(6).toString('hex')}`);
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(randomBytes(keyBytes));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    return await readFile(file);
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  } finally {
    await rm(fresh, { force: true });
  }
}
