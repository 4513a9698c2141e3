import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { cliProgram } from '../config/package-files.ts';
import { type ErrorCode, errorCodes, VmError } from '../errors.ts';
import { ownIdentity, signalProcess } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import type { HeldVm } from './held-vm.ts';
import { parsePortSpec } from './port-spec.ts';
import { type PublishedPort, publishedPorts } from './ports.ts';
import { VmStore } from '../state/store.ts';

/** Milliseconds that a forwarder gets to end before it is killed. */
const graceMs = 2_000;
/** Milliseconds until its ports must be open. */
const startMs = 30_000;

/** What a forwarder says, in one line, when its ports are open or can't be. */
type Word = { ports: true } | { error: { code: string; message: string } };

/**
 * Starts the one process that forwards a VM's ports for as long as the VM runs, whoever else lives. It owns nothing of the VM.
 * @throws {VmError} INVALID_ARGUMENT, BUSY when a port is in use or one serves already, PERMISSION, IO, TIMEOUT
 */
export async function startForwarder(held: HeldVm, ports: readonly string[]): Promise<PublishedPort[]> {
  ports.forEach(parsePortSpec);
  const { status } = await held.change({ publish: ports });
  if (status === 'created' || ports.length === 0) return [];
  const words = [cliProgram, 'port', '--serve', held.id, held.name];
  const child = spawn(process.execPath, words, { detached: true, stdio: ['ignore', 'pipe', 'ignore'], cwd: '/' });
  try {
    const word = await firstWord(child.stdout);
    if ('error' in word) throw toError(word.error);
    return publishedPorts(await held.locate());
  } catch (error) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    throw error;
  } finally {
    child.stdout.destroy();
    child.unref();
  }
}

/**
 * The forwarder's own life: ends when the guest's agent can't be reached any more, as with the VM's end, or by a signal.
 * @param open connects to the VM and forwards the ports; settles with what tells the end
 */
export async function runForwarder(
  vm: { id: string; name: string },
  open: (ports: readonly string[]) => Promise<{ ended: Promise<unknown>; close: () => Promise<void> }>,
): Promise<void> {
  const store = new VmStore();
  const say = (word: Word): void => void process.stdout.write(`${JSON.stringify(word)}\n`);
  // Whoever started us hears the first word only.
  process.stdout.on('error', () => {});
  try {
    const { publish = [] } = await store.find(vm);
    const { ended, close } = await open(publish);
    await store.update(vm, { forwarder: ownIdentity() });
    say({ ports: true });
    await Promise.race([ended, once(process, 'SIGTERM'), once(process, 'SIGINT')]);
    await close();
  } catch (error) {
    const { code, rawMessage } = VmError.from(error);
    say({ error: { code, message: rawMessage } });
    process.exitCode = 1;
  }
}

/** Ends a VM's forwarder, if it has one; resolves when it is gone. */
export async function endForwarder({ forwarder }: VmRecord): Promise<void> {
  if (forwarder === undefined || forwarder.pid === process.pid || !signalProcess(forwarder, 'SIGTERM')) return;
  try {
    await waitGone(forwarder, { timeoutMs: graceMs });
  } catch {
    signalProcess(forwarder, 'SIGKILL');
    await waitGone(forwarder, { timeoutMs: graceMs });
  }
}

async function firstWord(stdout: Readable): Promise<Word> {
  const lines = createInterface(stdout);
  const silent = new VmError('INTERNAL', 'the process that forwards ports ended without a word');
  const [line] = (await Promise.race([
    once(lines, 'line', { signal: AbortSignal.timeout(startMs) }),
    once(lines, 'close').then(() => [undefined]),
  ])) as [string | undefined];
  if (line === undefined) throw silent;
  return JSON.parse(line) as Word;
}

function toError({ code, message }: { code: string; message: string }): VmError {
  return new VmError(code in errorCodes ? (code as ErrorCode) : 'INTERNAL', message, { operation: 'forwardPort' });
}
