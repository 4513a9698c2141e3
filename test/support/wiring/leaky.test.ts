import { spawn, type ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keepsAcrossTests } from '../leaks.ts';

const left = path.join(process.env['POLYVISOR_HOME'] ?? '', 'left');
const kept = path.join(process.env['POLYVISOR_HOME'] ?? '', 'kept');
keepsAcrossTests('file', /\/kept$/);

describe('a file whose tests share a process', () => {
  let shared: ChildProcess;
  beforeAll(() => {
    shared = spawn('sleep', ['60'], { stdio: 'ignore' });
  });
  afterAll(() => {
    shared.kill('SIGKILL');
    rmSync(left);
    rmSync(kept);
  });

  test('leaks nothing of its own', () => expect(shared.pid).toBeGreaterThan(0));
  test('leaves what it may', () => writeFileSync(kept, ''));
  test('leaves what it may not', () => writeFileSync(left, ''));
  test('is not blamed for the one before', () => expect(shared.exitCode).toBeNull());
});
