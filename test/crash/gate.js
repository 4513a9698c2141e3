/*
 * Preloaded (`node --import`) into a process that is to be traced: loads what the process will need, tells its threads on
 * descriptor 3, and stands still until descriptor 4 ends. So a tracer counts from here, and not from Node's own start.
 */
import { closeSync, readdirSync, readSync, writeSync } from 'node:fs';
import { stat } from 'node:fs/promises';

const modules = (process.env['CRASH_PRELOAD'] ?? '').split(':').filter((name) => name !== '');
for (const name of modules) await import(new URL(`../../dist/${name}`, import.meta.url).href);
// The one thread of the pool (UV_THREADPOOL_SIZE=1), on which all calls of fs/promises run, is the last that was started.
await stat('/');
const pool = Math.max(...readdirSync('/proc/self/task').map(Number));
for (const name of ['NODE_OPTIONS', 'CRASH_PRELOAD', 'UV_THREADPOOL_SIZE']) delete process.env[name];
writeSync(3, `${JSON.stringify({ main: process.pid, pool })}\n`);
closeSync(3);
readSync(4, Buffer.alloc(1));
closeSync(4);
