import { chownSync, closeSync, constants, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { assetPath } from '../config/assets.ts';
import { type GuestArch, type HostFacts, readHostFacts } from '../config/host.ts';
import { enterCgroup } from '../confinement/cgroup.ts';
import { confine, readConfinement } from '../confinement/confinement.ts';
import {
  allowFileSize,
  allowLockedMemory,
  allowMemory,
  conceal,
  reveal,
  type RunningVmm,
  withdraw,
} from '../confinement/reveal.ts';
import { endStandIn, withStandIn } from '../confinement/stand-in.ts';
import { VmError } from '../errors.ts';
import { lock } from '../state/lock.ts';
import { vmFiles } from '../state/paths.ts';
import { isAlive, type ProcessIdentity, signalProcess } from '../state/process-identity.ts';
import { readExitAt } from '../transports/process/exit-status.ts';
import { guard } from '../transports/process/guard.ts';
import type { Keeper } from '../transports/process/keeper.ts';
import { joinLease, type Lease, untilUnread } from '../transports/process/lease.ts';
import type { LaunchedProcess } from '../transports/process/launched-process.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { beginKeeper } from './begin-keeper.ts';
import { confinementRequest } from './confinement-request.ts';
import type { HostVerdict, VmContext, VmmExit } from './hypervisor.ts';
import type { LaunchPlan } from './launch-plan.ts';

/** Milliseconds that the kernel gets to end a process after SIGKILL: long enough for gigabytes to be given back. */
const killMs = 30_000;

/**
 * The program that a probe found.
 * @throws {VmError} HYPERVISOR_NOT_FOUND or HYPERVISOR_TOO_OLD, in the probe's words
 */
export function usableBinary(verdict: HostVerdict): string {
  if (verdict.usable && verdict.path !== undefined) return verdict.path;
  const [finding] = verdict.findings;
  throw new VmError(
    verdict.version === undefined ? 'HYPERVISOR_NOT_FOUND' : 'HYPERVISOR_TOO_OLD',
    finding?.problem ?? 'the VMM cannot be used on this host',
    { path: verdict.path, advice: finding?.advice },
  );
}

/** The process of a VMM that is one program: started by us under a keeper, or adopted by what its state says. */
export class VmmProcess {
  readonly #context: VmContext;
  /** that began before the VMM was known */
  #keeper: Keeper | undefined;
  #launched: LaunchedProcess | undefined;
  /** of a VMM that another process started, and that this one has taken over */
  #lease: Lease | undefined;
  #identity: ProcessIdentity | undefined;
  #limited: Promise<void> = Promise.resolve();

  constructor(context: VmContext) {
    this.#context = context;
  }

  /** @throws {VmError} HYPERVISOR_NOT_FOUND or HYPERVISOR_TOO_OLD, in the probe's words */
  async findBinary(
    probe: (host: HostFacts, path: string | undefined, arch: GuestArch | undefined) => Promise<HostVerdict>,
  ): Promise<string> {
    const { config } = this.#context;
    return usableBinary(await probe(await readHostFacts(), assetPath(config, 'hypervisor'), config.arch));
  }

  /** Has the next VMM started by this keeper. */
  expect(keeper: Keeper | undefined): void {
    this.#keeper = keeper;
  }

  /** Makes the files of a plan. They must not exist: the folder is new. @throws {VmError} IO */
  async writeFiles(plan: LaunchPlan): Promise<void> {
    for (const { path, content, mode } of plan.files) {
      orIo(path, "can't write", () => write(path, constants.O_CREAT | constants.O_EXCL, content, mode));
    }
  }

  /**
   * After a VMM that has ended, for another one: gives the files of a plan what they began with, and takes away the sockets that it left,
   * on which nobody listens any more.
   * @throws {VmError} IO
   */
  async renewFiles(plan: LaunchPlan): Promise<void> {
    const { runtimeFolder } = this.#context;
    orIo(runtimeFolder, "can't clear", () => {
      const sockets = readdirSync(runtimeFolder, { withFileTypes: true }).filter((entry) => entry.isSocket());
      for (const { name } of sockets) rmSync(join(runtimeFolder, name));
    });
    for (const { path, content } of plan.files) {
      orIo(path, "can't write", () => write(path, constants.O_TRUNC | constants.O_NOFOLLOW, content));
    }
  }

  /** Removes the files of a plan that are there. @throws {VmError} IO */
  async removeFiles(plan: LaunchPlan): Promise<void> {
    for (const { path } of plan.files) orIo(path, "can't remove", () => rmSync(path, { force: true }));
  }

  /** @throws {VmError} START_FAILED, HOST_MISSING, PERMISSION when the VMM's uid may not open what it is to open, BUSY, IO, ABORTED */
  async launch(plan: LaunchPlan, options: CallOptions): Promise<void> {
    const { plan: confinement, through, make } = await confine(confinementRequest(this.#context, plan));
    const keeper = await this.#waitingKeeper(through.keeper);
    this.#launched = await keeper.launch({
      preparation: through.preparation,
      through: through.program,
      meanwhile: make,
      maxFileBytes: confinement.maxFileBytes,
      argv: [plan.binary, ...plan.argv],
      env: plan.env,
      cwd: plan.workingFolder,
      signal: options.signal,
    });
    this.#identity = this.#launched.identity;
    if (confinement.cgroup !== undefined) this.#limited = enterCgroup(confinement.cgroup, this.#identity.pid);
    this.#limited.catch(() => undefined);
  }

  /** The one that began with the VM, if it is still there, or a new one. */
  async #waitingKeeper(through: readonly string[]): Promise<Keeper> {
    const keeper = this.#keeper;
    if (keeper?.waits === true && keeper.isThrough(through)) return keeper;
    await keeper?.end();
    return beginKeeper(this.#context, through);
  }

  /** Resolves when the VMM that was just started is in its cgroup. @throws {VmError} HOST_MISSING */
  async limited(): Promise<void> {
    await this.#limited;
  }

  /** Lets the running VMM see a file of the host; does nothing when it sees everything. @throws {VmError} as `reveal` does */
  async reveal(path: string, options: { readOnly: boolean } & CallOptions): Promise<void> {
    // What a process that was killed has left in its place.
    if (path.startsWith('/dev/')) await endStandIn(this.#running(), path);
    await reveal(this.#running(), path, options);
  }

  /** Takes away what `reveal` showed. @throws {VmError} as `conceal` does */
  async conceal(path: string, options: CallOptions = {}): Promise<void> {
    await conceal(this.#running(), path, options);
  }

  /** Takes away a device that the running VMM was started with. @throws {VmError} as `withdraw` does */
  withdraw(device: string): void {
    withdraw(this.#running(), device);
  }

  /** Lets the running VMM write a file of ours, which is made where there is none. @throws {VmError} as `reveal` does */
  async lend(path: string, options: CallOptions = {}): Promise<void> {
    orIo(path, "can't make", () => closeSync(openSync(path, 'a', 0o600)));
    this.#give(path);
    await this.reveal(path, { readOnly: false, ...options });
  }

  /** Ends what `lend` began. @throws {VmError} as `conceal` does */
  async takeBack(path: string, options: CallOptions = {}): Promise<void> {
    await this.conceal(path, options);
    orIo(path, "can't take back", () => chownSync(path, process.geteuid?.() ?? 0, process.getegid?.() ?? 0));
  }

  /** Lets the running VMM write into a new folder. Nothing is left of it when that fails. @throws {VmError} as `reveal` does */
  async lendFolder(path: string, options: CallOptions = {}): Promise<void> {
    orIo(path, "can't make", () => mkdirSync(path, { mode: 0o700 }));
    try {
      this.#give(path);
      await this.reveal(path, { readOnly: false, ...options });
    } catch (error) {
      rmSync(path, { recursive: true });
      throw error;
    }
  }

  /** Ends what `lendFolder` began, and removes the folder with what is in it. @throws {VmError} as `conceal` does */
  async takeBackFolder(path: string): Promise<void> {
    try {
      if (this.alive()) await this.conceal(path);
    } catch (error) {
      // One that has ended meanwhile sees nothing any more.
      if (this.alive()) throw error;
    } finally {
      // Also when it can't be concealed: it is in a folder of the caller's, and may hold gigabytes.
      orIo(path, "can't remove", () => rmSync(path, { recursive: true, force: true }));
    }
  }

  /** What lies in a folder of ours becomes the VMM's, where it has a uid of its own. */
  #give(path: string): void {
    const { uid } = readConfinement(this.#context.stateFolder) ?? {};
    if (uid !== undefined) orIo(path, "can't give the VMM", () => chownSync(path, uid, uid));
  }

  /** Shows a device under another one's name while `use` has the VMM open it. @throws {VmError} as `withStandIn` does */
  async standIn(
    what: { device: string; as: string },
    use: () => Promise<void>,
    options: CallOptions = {},
  ): Promise<void> {
    await withStandIn(this.#running(), what, use, options);
  }

  /** Lets the running VMM write files of this size. @throws {VmError} HOST_MISSING, IO */
  async allowFileSize(bytes: number, options: CallOptions = {}): Promise<void> {
    await allowFileSize(this.#running(), bytes, options);
  }

  /** Lets the running VMM lock memory. @throws {VmError} HOST_MISSING, IO */
  async allowLockedMemory(options: CallOptions = {}): Promise<void> {
    await allowLockedMemory(this.#running(), options);
  }

  /** Lets the running VMM take what a guest with this much memory takes. @throws {VmError} IO */
  allowMemory(memoryMiB: number): void {
    allowMemory(this.#running(), memoryMiB, this.#context.accel === 'tcg');
  }

  #running(): RunningVmm {
    if (this.#identity === undefined) throw new VmError('NOT_RUNNING', 'the VMM was not started');
    return { stateFolder: this.#context.stateFolder, pid: this.#identity.pid };
  }

  /** Takes up a process that another one of ours started. */
  adopt(identity: ProcessIdentity): void {
    this.#identity = identity;
  }

  /** The VMM's process, running or not; undefined before it was started. */
  identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  alive(): boolean {
    return this.#identity !== undefined && isAlive(this.#identity);
  }

  /** Resolves when the process has ended. @throws {VmError} NOT_RUNNING before it was started, TIMEOUT, ABORTED */
  async wait(options: CallOptions = {}): Promise<VmmExit> {
    if (this.#identity === undefined) throw new VmError('NOT_RUNNING', 'the VMM was not started');
    const exit = await this.#launched?.waitExit(options);
    if (exit !== undefined) return exit;
    await waitGone(this.#identity, { ...options, alive: vmFiles.alive(this.#context.stateFolder) });
    // What another process's keeper wrote down; a detached VMM has none.
    const told = await readExitAt(vmFiles.exit(this.#context.stateFolder));
    return told === undefined ? {} : { ...told.exit, at: told.at.toISOString() };
  }

  /** Ends the process at once, and waits until it and its keeper are gone. Does nothing when it has ended. */
  async kill(options: CallOptions = {}): Promise<void> {
    await this.#launched?.end();
    if (this.#identity === undefined) return;
    signalProcess(this.#identity, 'SIGKILL');
    // Also for one that is dead already: another process's keeper may still be writing down how it ended.
    await this.wait({ signal: options.signal, timeoutMs: options.timeoutMs ?? killMs });
    await this.#letGo('end');
  }

  /** Makes the process end with this one: by the lease that its owner holds, or by a new one when it has no owner. */
  async own(): Promise<void> {
    const { stateFolder, pruneArgv } = this.#context;
    const program = this.#identity;
    if (program === undefined || !isAlive(program)) throw gone();
    if (this.#launched?.detached === false || this.#lease?.held === true) return;
    const path = vmFiles.lease(stateFolder);
    // Of two that find no keeper one makes it, and the other joins.
    const held = await lock(stateFolder, 'lease', { timeoutMs: 10_000 });
    try {
      const alive = vmFiles.alive(stateFolder);
      this.#lease =
        (await joinLease(path).catch(ifUnread)) ?? (await guard({ program, lease: path, alive, prune: pruneArgv }));
    } finally {
      await held.release();
    }
    this.#launched = undefined;
    if (isAlive(program)) return;
    await this.#letGo('end');
    throw gone();
  }

  /** Leaves the process without an owner and without a keeper. */
  async detach(): Promise<void> {
    if (this.#launched === undefined && this.#lease === undefined)
      throw new VmError('INVALID_STATE', 'only a process that owns a VM can detach it', {
        advice: 'Take it over first, with `adopt`.',
      });
    await this.#launched?.detach();
    this.#launched = undefined;
    // A keeper that was not its parent can't tell that it has ended.
    const over = this.#lease !== undefined && !this.alive();
    await this.#letGo('detach');
    if (over) throw gone();
  }

  /** Lets go of the lease, which another process must hold as well: the keeper ends the VMM otherwise. */
  async leave(): Promise<void> {
    if (this.#launched === undefined && this.#lease === undefined)
      throw new VmError('INVALID_STATE', 'only a process that owns a VM can leave it');
    await this.#launched?.release();
    await this.#lease?.release();
    [this.#launched, this.#lease] = [undefined, undefined];
  }

  /** Lets go of the lease; the process must have ended. */
  async cleanup(): Promise<void> {
    await this.#launched?.end();
    await this.#letGo('end');
  }

  /** Tells the keeper of a lease that this process took over to go, and waits until it has gone. */
  async #letGo(word: 'detach' | 'end'): Promise<void> {
    const lease = this.#lease;
    if (lease === undefined) return;
    this.#lease = undefined;
    // A keeper goes with the VMM. Who reads a lease of that name then is another one's keeper: the VM was started anew.
    const heard = await lease.order(word).then(() => true, ifUnread);
    await lease.release();
    if (heard === true) await untilUnread(vmFiles.lease(this.#context.stateFolder));
  }
}

function write(path: string, flags: number, content: string, mode?: number): void {
  const fd = openSync(path, constants.O_WRONLY | flags, mode);
  try {
    writeFileSync(fd, content);
  } finally {
    closeSync(fd);
  }
}

function orIo(path: string, what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `${what} ${path}: ${message}`, { path, errno: code, cause: error });
  }
}

/** Nobody reads the lease: there is no keeper. */
function ifUnread(error: unknown): undefined {
  if (VmError.from(error).code !== 'NOT_RUNNING') throw error;
}

function gone(): VmError {
  return new VmError('VMM_GONE', 'the VMM does not run any more');
}
