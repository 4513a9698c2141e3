import { fileURLToPath } from 'node:url';
import type { GuestArch } from './host.ts';

// The same distance from src/config/ and from dist/config/.
const root = new URL('../../', import.meta.url);

/** The guest agent as `npm run build` compiles it: the init of the boot initrd, and the mock's VMM. */
export const agentBinary: string = fileURLToPath(new URL('dist/guest/polyvisor-agent', root));

/** The same, for guests of an architecture other than this host's; it is there when its cross compiler was, too. */
export function foreignAgent(arch: GuestArch): string {
  return `${agentBinary}-${arch}`;
}

/** The command line program. */
export const cliProgram: string = fileURLToPath(new URL('bin/polyvisor.js', root));

/** package.json of polyvisor itself. */
export const packageJson: string = fileURLToPath(new URL('package.json', root));
