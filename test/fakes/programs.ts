import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { mkdtempSync, rmSync } from 'node:fs';

/** A folder of each test's own. */
export interface Scratch {
  readonly folder: string;
  /** A path in it. */
  file(name: string): string;
  /** Writes a file and answers its path. */
  write(name: string, content: string | Uint8Array, mode?: number): string;
  /** Writes a shell script that can be run. */
  script(name: string, text: string): string;
  /** Writes a program for Node that can be run, whatever the environment. */
  program(name: string, text: string): string;
}

export function scratch(): Scratch {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-scratch-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string): string => path.join(folder, name);
  const write = (name: string, content: string | Uint8Array, mode = 0o644): string => {
    writeFileSync(file(name), content, { mode });
    return file(name);
  };
  return {
    get folder() {
      return folder;
    },
    file,
    write,
    script: (name, text) => write(name, `#!/bin/sh\n${text}\n`, 0o755),
    program: (name, text) => write(name, `#!${process.execPath}\n${text}\n`, 0o755),
  };
}

/** A QEMU that tells its version and otherwise does what the shell text says. */
export function fakeQemu(at: Scratch, version: string, otherwise = 'exit 0'): string {
  const answer = `case $1 in --version) echo 'QEMU emulator version ${version} (fake)'; exit 0;; esac`;
  return at.script('qemu-system-fake', `${answer}\n${otherwise}`);
}

/**
 * An agent for the mock, started as `PROGRAM --host FOLDER ...`: listens on the first channel, as the real one does, and then does
 * `onConnection` with each `socket` after the first, which is only the driver's look whether it is there.
 */
export function fakeAgent(at: Scratch, onConnection: string): string {
  const text = `
    const net = require('node:net');
    let count = 0;
    net.createServer((socket) => {
      socket.on('error', () => {});
      if (count++ > 0) { ${onConnection} }
    }).listen(process.argv[3] + '/agent0.sock');
  `;
  return at.program('agent.cjs', text);
}

/**
 * Does something with the rights of an ordinary user: root may read everything. Nothing happens to what is called later from
 * timers of others; so it is for short calls only.
 */
export async function asOrdinaryUser<T>(action: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.(65_534);
  try {
    return await action();
  } finally {
    process.seteuid?.(0);
  }
}
