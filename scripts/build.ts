// dist/ from src/: the library one file each, the command line program as one file; and the guest's agent from guest/agent/, also for
// guests of the other architecture where a compiler for it is installed.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run, tool } from './run.ts';

const steps = [
  { command: tool('tsx'), args: ['scripts/bundle-program.ts'] },
  { command: tool('tsc'), args: ['-p', 'tsconfig.build.json'] },
  { command: 'scripts/build-agent', args: [] },
  ...foreignAgent(),
  { command: tool('tsx'), args: ['scripts/compile-program.ts'] },
];
for (const { command, args } of steps) {
  const { ok, output } = await run(command, args);
  process.stderr.write(output);
  if (!ok) {
    console.error(`${path.basename(command)} failed`);
    process.exit(1);
  }
}
removeStale();

function foreignAgent(): { command: string; args: string[] }[] {
  const [arch, compiler] =
    process.arch === 'arm64' ? ['amd64', 'x86_64-linux-gnu-gcc'] : ['arm64', 'aarch64-linux-gnu-gcc'];
  const out = `dist/guest/polyvisor-agent-${arch}`;
  const folders = (process.env['PATH'] ?? '').split(path.delimiter);
  if (folders.some((folder) => existsSync(path.join(folder, compiler))))
    return [{ command: 'scripts/build-agent', args: ['--cc', compiler, '--out', out] }];
  // One of an older build would not be what the sources are now.
  rmSync(out, { force: true });
  console.error(`no ${compiler}: built without the agent for guests of ${arch}`);
  return [];
}

/** The compiler leaves what it once made from a source file that has gone since; shipped, it would seem part of us. */
function removeStale(): void {
  for (const entry of readdirSync('dist', { recursive: true, withFileTypes: true })) {
    const source = entry.name.replace(/\.(d\.ts|js)$/, '.ts');
    const folder = path.relative('dist', entry.parentPath);
    if (!entry.isFile() || source === entry.name || folder === 'program') continue;
    if (!existsSync(path.join('src', folder, source))) rmSync(path.join(entry.parentPath, entry.name));
  }
}
