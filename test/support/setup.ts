import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { places, sealKeyFile } from '../../src/state/paths.ts';
import { expectNothingLeft } from './leaks.ts';
import { takeSnapshot, type Snapshot, type Territory } from './snapshot.ts';

// Runs in every test file's own process, before the file is imported: all it does happens in a folder of its own.
const userCache = places().cache;
const root = mkdtempSync('/tmp/pv-');
// A monitor under a uid of its own must be able to walk through to its own folder.
chmodSync(root, 0o711);
const territory: Territory = { root, home: path.join(root, 'h'), tmp: path.join(root, 't') };
mkdirSync(territory.tmp);
process.env['POLYVISOR_HOME'] = territory.home;
process.env['TMPDIR'] = territory.tmp;
for (const name of ['XDG_RUNTIME_DIR', 'XDG_STATE_HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME']) {
  delete process.env[name];
}

// Another QEMU than the host's, and the tools beside it.
const { POLYVISOR_QEMU: otherQemu, PATH: searchPath = '' } = process.env;
if (otherQemu !== undefined) process.env['PATH'] = `${path.dirname(otherQemu)}${path.delimiter}${searchPath}`;

// The folders that stay when the last machine is gone: whatever a test leaves below them is its own.
const { privateFolders, cache, templates, snapshots } = places();
for (const folder of [...privateFolders, templates, snapshots]) mkdirSync(folder, { recursive: true, mode: 0o700 });
// So does the key that everything saved is signed with.
writeFileSync(sealKeyFile(places()), Buffer.alloc(32, 0x5a), { mode: 0o600 });
if (process.env['POLYVISOR_TEST_CACHE'] === 'user') {
  // Making the guest image takes minutes: tests that boot one share the user's, as vm-global-setup.ts made it.
  mkdirSync(userCache, { recursive: true, mode: 0o700 });
  symlinkSync(userCache, cache);
}

let atFileStart: Snapshot;
let atTestStart: Snapshot;

// Hooks run as a stack: these first ones before, and their counterparts after, everything a test file registers.
beforeAll(() => {
  atFileStart = takeSnapshot(territory);
});
beforeEach(() => {
  atTestStart = takeSnapshot(territory);
});
afterEach(async () => {
  // Not before the test file has said which modules it replaces.
  const { endSpare } = await import('../../src/sandbox/spare-vm.ts');
  await endSpare();
  await expectNothingLeft(territory, atTestStart, { allow: true });
});
afterAll(async () => {
  try {
    await expectNothingLeft(territory, atFileStart, { allow: false });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
