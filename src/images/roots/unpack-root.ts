import { chmod, lchown, link, lutimes, mkdir, open, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import { runTool } from '../host-tool.ts';
import { readErofs } from './erofs-read.ts';
import { RangeReader } from './range-reader.ts';
import type { FileRange, FolderNode, TreeNode } from './tree.ts';
import { xattrText } from './xattr-text.ts';

const pieceBytes = 1 << 20;

/**
 * Puts the files of a root image into a folder, which takes the place of one that is there. Owners are kept by root alone; an ordinary user
 * owns all files, and may enter all folders. Extended attributes are written by setfattr(1), since Node.js writes none: capabilities by root alone.
 * @returns how many files have lost attributes: where the host has no setfattr, or the folder's file system takes none
 * @throws {VmError} UNSUPPORTED for an image that was not written here; IMAGE_INVALID, FILE_UNREADABLE, IO, ABORTED
 */
export async function unpackRoot(image: FileRange, folder: string, signal: AbortSignal | undefined): Promise<number> {
  const reader = new RangeReader();
  try {
    return await unpackTree(await readErofs(image, reader, signal), { folder, reader, signal });
  } finally {
    await reader[Symbol.asyncDispose]();
  }
}

async function unpackTree(
  root: FolderNode,
  { folder, reader, signal }: { folder: string; reader: RangeReader; signal: AbortSignal | undefined },
): Promise<number> {
  const isRoot = process.getuid?.() === 0;
  const named = new Map<TreeNode, Buffer>();
  const settle = async (path: Buffer, node: TreeNode): Promise<void> => {
    if (isRoot) await lchown(path, node.uid, node.gid);
    if (node.kind === 'symlink') return lutimes(path, node.mtime, node.mtime);
    await chmod(path, isRoot || node.kind !== 'folder' ? node.mode : node.mode | 0o700);
    return utimes(path, node.mtime, node.mtime);
  };
  try {
    await rm(folder, { recursive: true, force: true });
    const ahead: [path: Buffer, node: TreeNode][] = [[Buffer.from(folder), root]];
    for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
      signal?.throwIfAborted();
      const [path, node] = next;
      const first = named.get(node);
      if (first !== undefined) {
        await link(first, path);
        continue;
      }
      named.set(node, path);
      switch (node.kind) {
        case 'folder':
          await mkdir(path, 0o700);
          for (const [name, child] of node.children)
            ahead.push([Buffer.concat([path, Buffer.from(`/${name}`, 'latin1')]), child]);
          break;
        case 'symlink':
          await symlink(Buffer.from(node.target, 'latin1'), path);
          break;
        case 'fifo':
          await makeFifo(path.toString(), signal);
          break;
        case 'file':
          await writeContent(path, node.data, reader);
      }
    }
    const all = [...named];
    // A user may not write to what is for reading only; and a new owner takes a program's capabilities away.
    const before = isRoot ? 0 : await writeXattrs(all, folder, isRoot, signal);
    // What is in it has changed a folder's time, and may be closed to its owner.
    for (const [node, path] of all.toReversed()) await settle(path, node);
    return isRoot ? await writeXattrs(all, folder, isRoot, signal) : before;
  } catch (cause) {
    throw signal?.aborted === true
      ? VmError.from(signal.reason, 'ABORTED')
      : VmError.from(cause, 'IO', { path: folder });
  }
}

/** @returns how many files have lost some */
async function writeXattrs(
  files: readonly (readonly [node: TreeNode, path: Buffer])[],
  folder: string,
  isRoot: boolean,
  signal: AbortSignal | undefined,
): Promise<number> {
  const having = files.filter(([{ xattrs }]) => xattrs.size > 0);
  if (having.length === 0) return 0;
  let lost = 0;
  const texts: string[] = [];
  for (const [{ xattrs }, path] of having) {
    const allowed = new Map([...xattrs].filter(([name]) => isRoot || !name.startsWith('security.')));
    if (allowed.size < xattrs.size) lost += 1;
    else texts.push(xattrText(path.toString('latin1'), allowed));
  }
  const dump = `${folder}.xattrs`;
  try {
    await writeFile(dump, texts.join(''), { encoding: 'latin1', mode: 0o600 });
    // It goes on behind what it can't write, and says one line of each.
    const { errors } = await runTool('setfattr', ['-h', `--restore=${dump}`], { signal });
    return lost + errors.split('\n').filter((line) => line.startsWith('setfattr: ')).length;
  } catch (error) {
    if (VmError.from(error).code !== 'HOST_MISSING') throw error;
    return having.length;
  } finally {
    await rm(dump, { force: true });
  }
}

async function writeContent(path: Buffer, { file, offset, size }: FileRange, reader: RangeReader): Promise<void> {
  const out = await open(path, 'wx', 0o600);
  try {
    for (let at = 0; at < size; at += pieceBytes) {
      const piece = await reader.read(file, offset + at, Math.min(pieceBytes, size - at));
      await out.writeFile(piece);
    }
  } finally {
    await out.close();
  }
}

async function makeFifo(path: string, signal: AbortSignal | undefined): Promise<void> {
  const { exitCode, errors } = await runTool('mkfifo', ['--', path], { signal });
  if (exitCode !== 0) throw new VmError('IO', `mkfifo failed: ${errors.trim()}`, { path });
}
