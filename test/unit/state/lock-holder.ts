/* Takes a lock, says so, and holds it until it is killed. */
import { lock } from '../../../src/state/lock.ts';

await lock(process.argv[2] ?? '', process.argv[3] ?? '');
process.stdout.write('held\n');
setInterval(() => undefined, 60_000);
