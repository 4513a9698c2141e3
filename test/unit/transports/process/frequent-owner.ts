/* An owner for the tests to kill: has a spare keeper begun, prints `expected`, and stays. */
import { Keeper } from '../../../../src/transports/process/keeper.ts';
import type { LaunchOptions } from '../../../../src/transports/process/launch.ts';
import { expectNext } from '../../../../src/transports/process/spare-keeper.ts';

const keeper = await Keeper.begin(JSON.parse(process.argv[2] ?? '') as LaunchOptions);
await keeper.end();
expectNext(keeper.kind);
expectNext(keeper.kind);
process.stdout.write('expected\n');
setInterval(() => undefined, 60_000);
