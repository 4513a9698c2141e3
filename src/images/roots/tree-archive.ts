import { VmError } from '../../errors.ts';
import { paddingOf } from '../../transports/tar/entry.ts';
import { TAR_TRAILER, tarHeaders, type WrittenEntry } from '../../transports/tar/writer.ts';
import type { RangeReader } from './range-reader.ts';
import type { FolderNode, TreeNode } from './tree.ts';

const pieceBytes = 1 << 20;
const nothing = Buffer.alloc(0);

/**
 * A tree as a tar archive, such as a layer of an image: equal trees give equal bytes. A piece is valid until the next is asked for.
 * @throws {VmError} UNSUPPORTED for a name that would be a whiteout there; FILE_UNREADABLE, IMAGE_INVALID, ABORTED
 */
export async function* treeArchive(
  root: FolderNode,
  reader: RangeReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const named = new Map<TreeNode, string>();
  const ahead: { name: string; node: TreeNode }[] = [{ name: '.', node: root }];
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    signal?.throwIfAborted();
    const { name, node } = next;
    const first = named.get(node);
    if (first !== undefined) {
      yield tarHeaders(entryOf(node, 'hardlink', name, first));
      continue;
    }
    named.set(node, name);
    switch (node.kind) {
      case 'folder':
        yield tarHeaders(entryOf(node, 'folder', `${name}/`, ''), node.xattrs);
        // The last is taken first.
        for (const child of [...node.children.keys()].toSorted((a, b) => (a > b ? -1 : 1)))
          ahead.push({ name: `${name}/${checked(child)}`, node: node.children.get(child) as TreeNode });
        break;
      case 'symlink':
        yield tarHeaders(entryOf(node, 'symlink', name, node.target), node.xattrs);
        break;
      case 'fifo':
        yield tarHeaders(entryOf(node, 'fifo', name, ''), node.xattrs);
        break;
      case 'file': {
        const { file, offset, size } = node.data;
        yield tarHeaders({ ...entryOf(node, 'file', name, ''), size }, node.xattrs);
        for (let at = 0; at < size; at += pieceBytes) {
          const length = Math.min(pieceBytes, size - at);
          const piece = await reader.read(file, offset + at, length);
          if (piece.length < length) throw new VmError('IMAGE_INVALID', `${file} is cut short`, { path: file });
          yield piece;
        }
        if (paddingOf(size) > 0) yield Buffer.alloc(paddingOf(size));
      }
    }
  }
  yield TAR_TRAILER;
}

function entryOf(node: TreeNode, type: WrittenEntry['type'], name: string, link: string): WrittenEntry {
  const { mode, uid, gid, mtime } = node;
  const text = (bytes: string): Buffer => (bytes === '' ? nothing : Buffer.from(bytes, 'latin1'));
  const common = { mode, uid, gid, mtimeNs: BigInt(mtime) * 1_000_000_000n, size: 0 };
  return { type, name: text(name), link: text(link), ...common };
}

function checked(name: string): string {
  if (!name.startsWith('.wh.')) return name;
  throw new VmError('UNSUPPORTED', `a layer of an image can't hold a file named ${JSON.stringify(name.slice(0, 80))}`, {
    advice: 'Such a name removes another one there: give the file another name.',
  });
}
