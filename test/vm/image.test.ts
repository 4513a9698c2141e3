import { createHash } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { agentBinary } from '../../src/config/package-files.ts';
import { buildDefaultImage } from '../../src/images/build.ts';
import { findImage } from '../../src/images/store.ts';
import { places } from '../../src/state/paths.ts';

it('builds the default guest from the real packages, the same bytes each time', async () => {
  const at = places();
  const known = await findImage(at.images, 'default', agentBinary);
  if (known === undefined) throw new Error('vm-global-setup.ts should have built the default guest');

  const cacheFolder = `${at.state}/images`;
  const phases = new Set<string>();
  try {
    const built = await buildDefaultImage({
      cacheFolder,
      agentPath: agentBinary,
      onEvent: ({ phase }) => phases.add(phase),
    });
    expect(built.manifest).toEqual(known.manifest);
    for (const file of ['kernel', 'initrd'] as const) {
      const bytes = await readFile(built[file]);
      const { sha256, size } = built.manifest.files[file];
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
      expect((await stat(known[file])).size).toBe(size);
      expect(bytes.equals(await readFile(known[file]))).toBe(true);
    }
    expect([...phases]).toEqual(['resolve', 'download', 'unpack', 'initrd', 'store', 'done']);
  } finally {
    await rm(cacheFolder, { recursive: true, force: true });
  }
});
