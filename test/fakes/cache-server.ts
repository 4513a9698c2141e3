// Serves a cache of VMs of the mock until it is asked to quit, or killed.
import { openCacheServer } from '../../src/sandbox/serve-cache.ts';

const [endpoint = '', cache = ''] = process.argv.slice(2);
const server = await openCacheServer({
  hypervisor: 'mock',
  memoryMiB: 64,
  endpoint,
  cache: Number(cache),
  takeUpMs: 1000,
});
await server.filled();
process.stdout.write('{"phase":"filled"}\n');
await server.asked;
await server.close();
process.stdout.write('{"phase":"closed"}\n');
