import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../errors.ts';
import { describeFile } from './file-record.ts';
import { manifestVersion, type GuestImage, type ImageManifest } from './image.ts';
import { recipeHash } from './recipe.ts';

const manifestFile = 'manifest.json';
const scratchPrefix = '.building-';

/** The folder of the image with this name and key. The key's first 16 digits do: it is checked against the manifest. */
function imageFolder(cacheFolder: string, name: string, key: string): string {
  return join(cacheFolder, `${name}-${key.slice(0, 16)}`);
}

/**
 * The newest image of a name that is whole and, for an image of our builder, made by this version of it. Reads the manifests and the
 * files' sizes only.
 * @param agentPath when given, only an image with this very agent will do
 * @throws {VmError} FILE_NOT_FOUND when there is no such agent
 */
export async function findImage(
  cacheFolder: string,
  name: string,
  agentPath?: string,
): Promise<GuestImage | undefined> {
  const images = (await listImages(cacheFolder)).filter(
    (image) => image.name === name && image.manifest.recipe === recipeHash,
  );
  if (images.length === 0 || agentPath === undefined) return images[0];
  const { sha256 } = await describeAgent(agentPath);
  return images.find((image) => image.manifest.inputs.agent.sha256 === sha256);
}

/** The image of a name and key, when it is whole. @throws {VmError} IO */
export async function cachedImage(cacheFolder: string, name: string, key: string): Promise<GuestImage | undefined> {
  const folder = imageFolder(cacheFolder, name, key);
  return (await listImages(cacheFolder)).find((image) => image.folder === folder && image.manifest.key === key);
}

/** All whole images, the newest first. A folder that is none is passed over. */
export async function listImages(cacheFolder: string): Promise<GuestImage[]> {
  const found: { image: GuestImage; made: number }[] = [];
  for (const name of entriesOf(cacheFolder)) {
    const entry = name.startsWith('.') ? undefined : readImage(join(cacheFolder, name));
    if (entry !== undefined) found.push(entry);
  }
  return found.sort((a, b) => b.made - a.made || (a.image.folder < b.image.folder ? -1 : 1)).map(({ image }) => image);
}

function entriesOf(cacheFolder: string): string[] {
  try {
    return readdirSync(cacheFolder);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new VmError('IO', `cannot read ${cacheFolder}: ${message}`, { path: cacheFolder, errno: code, cause });
  }
}

/** The agent as it was last described: it is the same as long as the very file is. */
let lastAgent: { key: string; description: { sha256: string; size: number } } | undefined;

/** Size and hash of the agent's program. */
export async function describeAgent(path: string): Promise<{ sha256: string; size: number }> {
  const file = await stat(path, { bigint: true }).catch(() => undefined);
  const key = file && `${path}\0${file.dev}:${file.ino}:${file.size}:${file.ctimeNs}`;
  if (key !== undefined && key === lastAgent?.key) return lastAgent.description;
  const description = await readAgent(path);
  if (key !== undefined) lastAgent = { key, description };
  return description;
}

async function readAgent(path: string): Promise<{ sha256: string; size: number }> {
  return describeFile(path).catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === 'ENOENT' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE';
    throw new VmError(code, `the guest agent ${path} cannot be read: ${cause.message}`, {
      path,
      errno: cause.code,
      advice: 'It comes with the package; in a checkout, `npm run build` makes it.',
      cause,
    });
  });
}

function readImage(folder: string): { image: GuestImage; made: number } | undefined {
  try {
    const path = join(folder, manifestFile);
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as ImageManifest;
    if (manifest.schemaVersion !== manifestVersion) return undefined;
    const { bzImage } = manifest.files;
    const image: GuestImage = {
      name: manifest.name,
      folder,
      kernel: join(folder, 'kernel'),
      initrd: join(folder, 'initrd'),
      ...(bzImage === undefined ? {} : { bzImage: join(folder, 'bzImage') }),
      manifest,
    };
    if (statSync(image.kernel).size !== manifest.files.kernel.size) return undefined;
    if (statSync(image.initrd).size !== manifest.files.initrd.size) return undefined;
    if (image.bzImage !== undefined && statSync(image.bzImage).size !== bzImage?.size) return undefined;
    return { image, made: statSync(path).mtimeMs };
  } catch {
    // Not an image, or one that is being removed at this moment.
    return undefined;
  }
}

/** A new folder inside the cache, so that a finished image can be renamed into place. Removes those of builders that were killed. */
export async function openScratch(cacheFolder: string): Promise<string> {
  await mkdir(cacheFolder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(cacheFolder)) {
    const owner = name.startsWith(scratchPrefix) ? /^(\d+)-(\d+)-/.exec(name.slice(scratchPrefix.length)) : null;
    if (owner !== null && startTime(owner[1] ?? '') !== owner[2])
      await rm(join(cacheFolder, name), { recursive: true, force: true });
  }
  return mkdtemp(join(cacheFolder, `${scratchPrefix}${process.pid}-${startTime('self') ?? 0}-`));
}

/** Field 22 of /proc/PID/stat: a pid that was given to another process has another one. Undefined when there is none, or a dead one. */
function startTime(pid: string): string | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/**
 * Moves a finished image to its place. Of two builders that make the same image the first one's stays; with `replace` its files are
 * renamed over, one by one, so that a reader always finds a whole file.
 */
export async function storeImage(
  cacheFolder: string,
  made: string,
  manifest: ImageManifest,
  replace: boolean,
): Promise<GuestImage> {
  const folder = imageFolder(cacheFolder, manifest.name, manifest.key);
  try {
    await rename(made, folder);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST')
      throw new VmError('IO', `cannot store the image: ${message}`, { path: folder, errno: code, cause });
    const there = readImage(folder);
    if (there !== undefined && !replace) return there.image;
    // The manifest last.
    const names = [...Object.keys(manifest.files), manifestFile];
    for (const name of names) await rename(join(made, name), join(folder, name));
  }
  const stored = readImage(folder);
  if (stored === undefined) throw new VmError('INTERNAL', `the image in ${folder} is not whole`, { path: folder });
  return stored.image;
}
