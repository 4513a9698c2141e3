import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { VmError } from '../../errors.ts';

/** Who asks a registry. */
export interface Credentials {
  username: string;
  password: string;
}

/** Docker Hub's name in Docker's file. */
const hubKey = 'https://index.docker.io/v1/';

/**
 * What `docker login` has written down for a registry (`$DOCKER_CONFIG/config.json`); undefined when there is nothing. Programs that keep
 * secrets elsewhere (`credHelpers`, `credsStore`) are not asked.
 * @throws {VmError} FILE_INVALID, FILE_UNREADABLE
 */
export async function storedCredentials(
  registry: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Credentials | undefined> {
  const file = path.join(env['DOCKER_CONFIG'] ?? path.join(env['HOME'] ?? homedir(), '.docker'), 'config.json');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new VmError('FILE_UNREADABLE', `cannot read ${file}: ${message}`, { path: file, errno: code, cause });
  }
  try {
    const { auths = {} } = JSON.parse(text) as { auths?: Record<string, { auth?: string } | undefined> };
    const { auth } = auths[registry === 'docker.io' ? hubKey : registry] ?? auths[`https://${registry}`] ?? {};
    if (auth === undefined || auth === '') return undefined;
    const words = Buffer.from(auth, 'base64').toString('utf8');
    const colon = words.indexOf(':');
    if (colon > 0) return { username: words.slice(0, colon), password: words.slice(colon + 1) };
  } catch {
    // Its text may hold secrets, and so may a parser's message about it.
  }
  throw new VmError('FILE_INVALID', `${file} is not what \`docker login\` writes`, { path: file });
}
