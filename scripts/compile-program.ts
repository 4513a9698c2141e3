// dist/program/main.v8: the command line program as V8 has compiled it once the usual commands have run. Needs the agent, which is
// the mock's VMM.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const compiled = 'dist/program/main.v8';
const home = mkdtempSync(path.join(tmpdir(), 'polyvisor-build-'));
process.env['POLYVISOR_HOME'] = home;
try {
  rmSync(compiled, { force: true });
  const { program } = (await import(new URL('../bin/load-program.js', import.meta.url).href)) as {
    program?: { main(argv: readonly string[]): Promise<void>; script: { createCachedData(): Buffer } };
  };
  if (program === undefined) throw new Error('there is no program yet');
  for (const words of ['ls -q', 'run -q --hypervisor mock -- true']) {
    await program.main(words.split(' '));
    if (process.exitCode !== undefined && process.exitCode !== 0) throw new Error(`${words} failed`);
  }
  writeFileSync(compiled, program.script.createCachedData());
} finally {
  rmSync(home, { recursive: true });
}
