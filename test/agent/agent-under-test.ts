import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import { buildSanitized, sanitizerEnvironment } from './sanitized-build.ts';
import { RawClient } from './raw-client.ts';

/** A sanitized agent in host mode, and its clients. */
export class AgentUnderTest {
  readonly folder: string;
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly #clients: RawClient[] = [];
  readonly #exited: Promise<unknown[]>;
  #stderr = '';

  private constructor(program: string, folder: string) {
    this.folder = folder;
    this.child = spawn(program, ['--host', folder, '--channels', '2'], {
      env: sanitizerEnvironment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#exited = once(this.child, 'close');
    this.child.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
  }

  static async start(): Promise<AgentUnderTest> {
    const program = await buildSanitized();
    const agent = new AgentUnderTest(program, mkdtempSync(path.join(tmpdir(), 'polyvisor-agent-')));
    const { stdout } = agent.child;
    if (!stdout) throw new Error('no stdout');
    const lines = createInterface(stdout);
    lines.on('line', (line) => agent.lines.push(line));
    await Promise.race([once(lines, 'line'), agent.#exited]);
    if (agent.lines[0]?.endsWith('Z polyvisor-agent: ready') !== true) throw new Error(`not ready: ${agent.#stderr}`);
    return agent;
  }

  socket(channel: number): string {
    return path.join(this.folder, `agent${channel}.sock`);
  }

  async connect(channel = 0): Promise<RawClient> {
    const client = await RawClient.connect(this.socket(channel));
    this.#clients.push(client);
    return client;
  }

  /** A client whose session is open. */
  async session(channel = 0): Promise<RawClient> {
    const client = await this.connect(channel);
    await client.open();
    return client;
  }

  /** Ends the agent by SIGTERM, unless it has ended, and holds it to a clean end. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const [code, signal] = await this.#exited;
    await Promise.all(this.#clients.map((it) => it.close()));
    rmSync(this.folder, { recursive: true, force: true });
    expect({ code, signal, stderr: this.#stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  }

  /** Ends the agent by SIGKILL: it has no chance to clean up, not even its sockets. */
  async killed(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#exited;
    await Promise.all(this.#clients.map((it) => it.close()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Resolves when the agent has ended by itself. */
  async exited(): Promise<void> {
    await this.#exited;
  }
}
