import { spawn } from 'node:child_process';

/** How a command ended, with all it printed on either stream, in order. */
export interface Ran {
  ok: boolean;
  output: string;
  seconds: number;
}

/** Runs a command to its end and keeps what it prints; never throws for a failing one. */
export function run(command: string, args: readonly string[], options: { cwd?: string } = {}): Promise<Ran> {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const take = (chunk: Buffer): void => void (output += chunk.toString());
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const end = (ok: boolean): void => resolve({ ok, output, seconds: (performance.now() - started) / 1000 });
    child.on('error', (error) => {
      output += `${error.message}\n`;
      end(false);
    });
    child.on('close', (code) => end(code === 0));
  });
}

/** The executable that a development dependency installs under this name. */
export function tool(name: string): string {
  return new URL(`../node_modules/.bin/${name}`, import.meta.url).pathname;
}
