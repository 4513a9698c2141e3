import type { Duplex } from 'node:stream';
import type { CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { ConsoleLocation, Hypervisor } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import { tryLock } from '../state/lock.ts';
import { VmStore } from '../state/store.ts';
import { openPseudoTerminal } from '../transports/pseudo-terminal.ts';
import { connectUnix } from '../transports/unix-socket.ts';
import { recall } from './context.ts';
import { statusOf } from './status.ts';

/** Milliseconds that a VMM gets to take the connection. */
const connectMs = 10_000;

/**
 * Attaches to the console of a VM by its name. Unlike {@link Vm.connect} it needs no agent in the guest.
 * What is not read slows the guest's console down; destroying the stream detaches.
 * @throws {VmError} NOT_FOUND, NOT_RUNNING, BUSY when another one is attached, UNSUPPORTED, TIMEOUT, ABORTED
 */
export async function attachConsole(name: string, call: CallOptions = {}): Promise<Duplex> {
  const store = new VmStore();
  const record = await store.read(validateName(name));
  const status = statusOf(record);
  if (status !== 'running' && status !== 'paused') {
    throw new VmError('NOT_RUNNING', `${name} is ${status}`, { name, hypervisor: record.hypervisor });
  }
  const { module, context } = await recall(store, record);
  const hypervisor = manage(module, context);
  await hypervisor.loadState(record.driver);
  return openConsole({ name, hypervisor, stateFolder: context.stateFolder }, call);
}

/**
 * The console of a VM that runs, for one client at a time.
 * @throws {VmError} BUSY when another one is attached, UNSUPPORTED, INVALID_STATE, VMM_GONE, TIMEOUT, ABORTED
 */
export async function openConsole(
  vm: { name: string; hypervisor: Hypervisor; stateFolder: string },
  call: CallOptions = {},
): Promise<Duplex> {
  const { name, hypervisor, stateFolder } = vm;
  const location = await hypervisor.console();
  requireInteractive(location, { name, hypervisor: hypervisor.type });
  const held = await tryLock(stateFolder, 'console');
  if (held === undefined) {
    throw new VmError('BUSY', `another process is attached to the console of ${name}`, {
      name,
      advice: 'Detach there first; `polyvisor logs -f` follows a console beside it.',
    });
  }
  try {
    const limit = { signal: call.signal, timeoutMs: call.timeoutMs ?? connectMs };
    const stream =
      location.protocol === 'pty' ? openPseudoTerminal(location.path) : await connectUnix(location.path, limit);
    // A VMM that ends with words unread resets the connection: to whoever reads that is the end, to others it is nothing.
    stream.on('error', () => undefined).once('close', () => void held.release());
    return stream;
  } catch (error) {
    await held.release();
    throw VmError.from(error).with({ operation: 'console', hypervisor: hypervisor.type, name });
  }
}

function requireInteractive({ protocol }: ConsoleLocation, facts: { name: string; hypervisor: string }): void {
  if (protocol !== 'file') return;
  throw new VmError('UNSUPPORTED', `the console of ${facts.name} is a ${protocol}: it can only be read`, {
    ...facts,
    operation: 'console',
    advice: '`polyvisor logs` shows it.',
  });
}
