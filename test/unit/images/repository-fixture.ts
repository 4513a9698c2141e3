import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { architectureOf } from '../../../src/images/host-architecture.ts';
import { elfFile, moduleFile, signature } from './elf-fixture.ts';
import { bzImage } from './image-fixture.ts';

const release = '6.1.0-1-cloud';
const kernelPackage = `linux-image-${release}`;
const metas = (['amd64', 'arm64'] as const).map((arch) => architectureOf(arch).kernelPackage);

/** A package repository on disk, and stand-ins for apt and dpkg-deb that serve it: a package is a tar file. */
export interface Repository {
  folder: string;
  /** goes in front of PATH */
  tools: string;
  /** what was called, a line each */
  calls(): string[];
  /** replaces a stand-in's shell program */
  setTool(name: string, program: string): void;
  /** publishes a new version of the kernel */
  publish(version: string): void;
}

const programs: Record<string, string> = {
  'apt-cache': `for name; do :; done
[ "$FAKE_STALE" = yes ] && case "$*" in *Dir::State=*) ;; *) exit 100;; esac
[ -e "$repo/$name.stanza" ] || exit 100
cat "$repo/$name.stanza"`,
  'apt-get': `for wanted; do :; done
case "$*" in *update) exit 0;; esac
echo "dlstatus:1:50.0:Retrieving file 1 of 1"
cp "$repo/\${wanted%%=*}.deb" . 2>/dev/null && exit 0
echo "E: Failed to fetch http://mirror.example/\${wanted%%=*}.deb  404  Not Found" >&2
exit 100`,
  'dpkg-deb': `exec tar -xf "$2" -C "$3"`,
};

export function makeRepository(folder: string): Repository {
  const tools = path.join(folder, 'tools');
  mkdirSync(tools, { recursive: true });
  const setTool = (name: string, program: string): void => {
    const file = path.join(tools, name);
    writeFileSync(file, `#!/bin/sh\nrepo='${folder}'\necho "${name} $*" >> "$repo/calls"\n${program}\n`);
    chmodSync(file, 0o755);
  };
  for (const [name, program] of Object.entries(programs)) setTool(name, program);
  writeFileSync(path.join(folder, 'calls'), '');
  const publish = (version: string): void => {
    const files = path.join(folder, `files-${version}`);
    const modules = path.join(files, 'lib/modules', release, 'kernel/drivers');
    mkdirSync(modules, { recursive: true });
    mkdirSync(path.join(files, 'boot'));
    writeFileSync(path.join(files, 'boot', `vmlinuz-${release}`), bzImage(elfFile({ '.text': Buffer.from(version) })));
    writeFileSync(path.join(modules, 'virtio.ko'), moduleFile(['depends=']));
    writeFileSync(
      path.join(modules, 'virtio_pci.ko'),
      Buffer.concat([moduleFile(['depends=virtio', 'alias=pci:v1']), signature(8)]),
    );
    writeFileSync(path.join(modules, 'virtio_console.ko'), moduleFile(['depends=virtio']));
    writeFileSync(path.join(modules, 'virtio_blk.ko'), moduleFile(['depends=virtio']));
    pack(folder, kernelPackage, version, files);
    for (const meta of metas) stanza(folder, meta, version, '', `${kernelPackage} (= ${version})`);
  };
  publish('1');
  const busybox = path.join(folder, 'busybox');
  mkdirSync(path.join(busybox, 'bin'), { recursive: true });
  writeFileSync(
    path.join(busybox, 'bin/busybox'),
    // The names of its commands are among its texts; one of them is not.
    '#!/bin/sh\nprintf "bin/busybox\\nbin/sh\\nusr/bin/env\\nlinuxrc\\n"\nexit\n\0env\0',
    { mode: 0o755 },
  );
  pack(folder, 'busybox-static', '1', busybox);
  return {
    folder,
    tools,
    setTool,
    publish,
    calls: () => readFileSync(path.join(folder, 'calls'), 'utf8').split('\n').filter(Boolean),
  };
}

function pack(folder: string, name: string, version: string, files: string): void {
  const file = path.join(folder, `${name}.deb`);
  execFileSync('tar', ['-cf', file, '-C', files, '.']);
  stanza(folder, name, version, file, '');
}

function stanza(folder: string, name: string, version: string, file: string, depends: string): void {
  const content = file === '' ? Buffer.alloc(0) : readFileSync(file);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const lines = [
    `Package: ${name}`,
    `Version: ${version}`,
    `Depends: ${depends}`,
    'Description: x',
    ' more',
    `Size: ${content.length}`,
    `SHA256: ${sha256}`,
  ];
  writeFileSync(path.join(folder, `${name}.stanza`), `${lines.join('\n')}\n\n`);
}
