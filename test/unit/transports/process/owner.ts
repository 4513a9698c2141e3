/*
 * An owner for the tests to kill: launches what it is told as JSON, prints the pids, and stays.
 * Before the launch it prints `go`, so that it can be killed in the middle of it.
 */
import { launch, type LaunchOptions } from '../../../../src/transports/process/launch.ts';

const options = JSON.parse(process.argv[2] ?? '') as LaunchOptions;
process.stdout.write('go\n');
const launched = await launch(options);
process.stdout.write(`${JSON.stringify({ child: launched.identity, keeper: launched.keeper })}\n`);
setInterval(() => undefined, 60_000);
