import { fileURLToPath } from 'node:url';

// The same distance from src/config/ and from dist/config/.
const root = new URL('../../', import.meta.url);

/** The guest agent as `npm run build` compiles it: the init of the boot initrd, and the mock's VMM. */
export const agentBinary: string = fileURLToPath(new URL('dist/guest/polyvisor-agent', root));

/** The command line program. */
export const cliProgram: string = fileURLToPath(new URL('bin/polyvisor.js', root));

/** package.json of polyvisor itself. */
export const packageJson: string = fileURLToPath(new URL('package.json', root));
