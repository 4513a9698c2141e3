import { assetPath } from '../../config/assets.ts';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { signalProcess } from '../../state/process-identity.ts';
import { tail } from '../../transports/log-tail.ts';
import { findProgram } from '../../transports/process/find-program.ts';
import { panicIn } from '../console-signs.ts';
import type { Device } from '../device.ts';
import type { ConsoleLocation, CreateOptions, Driver, StopOptions, VmContext, VmmExit } from '../hypervisor.ts';
import { ProgramDriver } from '../program-driver.ts';
import { withShown } from '../shown-paths.ts';
import { AcrnControl } from './control.ts';
import { type HugePagesHost, hostHugePages, releaseHugePages, reserveHugePages } from './control-hugepages.ts';
import { placeCold, placeSwapped, requireTaps } from './control-plug.ts';
import { isServed, refused, served } from './control-start.ts';
import { fileOptions, pciAddress } from './devices.ts';
import { startFailure } from './errors.ts';
import { agentChannels, type Found, planWith } from './plan.ts';
import { chosenLapicIds } from './plan-params.ts';
import { chooseLapicIds, type CpuHost, hostCpus } from './probe-cpus.ts';
import { checkKernel } from './probe-kernel.ts';
import { findAcrnDm } from './probe.ts';
import { parseState } from './state.ts';
import { addPlaced, readPlaced } from './state-devices.ts';
import { makeManagerFolder, managerFolder, removeOwnSockets, removeSockets, requireFreeName } from './state-sockets.ts';

/** Milliseconds that acrn-dm gets to end after SIGINT before it is killed: two to three seconds when all is well. */
const stopMs = 15_000;

/** Milliseconds that acrn-dm gets to make a VM: it calls iasl eleven times, and asks the hypervisor ten times over five seconds. */
const makeMs = 120_000;

/**
 * Bytes of a guest's output that may be under way: what a socket's buffer (net.core.wmem_default, 208 KiB) can't take acrn-dm drops, and
 * several streams share it.
 */
const lossyWindow = 16_384;

/** Lines of the guest's in an error: a panic, its registers and its call trace. */
const consoleLines = 50;

/** Milliseconds that an acrn-dm without a guest gets to end, and to write its log. */
const giveUpMs = 5_000;

/** Where the driver finds what it needs of the host; elsewhere in tests. */
export interface AcrnHost {
  hugePages: HugePagesHost;
  cpus: CpuHost;
  /** folder of the sockets for acrnctl */
  sockets: string;
}

const serviceVm: AcrnHost = { hugePages: hostHugePages, cpus: hostCpus, sockets: managerFolder };

/** What the next start is made of, and why it failed where acrn-dm lived on. */
interface NextStart {
  found: Found | undefined;
  refusal: VmError | undefined;
}

/** Drives one acrn-dm: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class AcrnDriver extends ProgramDriver implements Driver {
  readonly #control: AcrnControl;
  readonly #host: AcrnHost;
  readonly #next: NextStart;
  #stopping = false;

  constructor(context: VmContext, host: AcrnHost = serviceVm) {
    const next: NextStart = { found: undefined, refusal: undefined };
    const lapicIds = Array.from({ length: context.config.vcpus }, (_, id) => id);
    super(context, {
      plan: (of, binary) => planWith(of, binary, next.found ?? { lapicIds, devices: [] }),
      // What the hypervisor and its host lack acrn-dm says itself, and doctor beforehand.
      probe: findAcrnDm,
      parseState,
      startFailure: (exit, log) => next.refusal?.with({ log }) ?? startFailure(exit, log),
      channels: { count: agentChannels, showsHangup: false, lossyWindow },
    });
    this.#next = next;
    this.#host = host;
    this.#control = new AcrnControl(context);
  }

  override async create(options?: CreateOptions): Promise<void> {
    const { config, id } = this.context;
    await chooseLapicIds(config.vcpus, chosenLapicIds(config), this.#host.cpus);
    await checkKernel(assetPath(config, 'kernel') ?? '');
    await requireFreeName(id, this.#host.sockets);
    await super.create(options);
  }

  async addDevice(device: Device): Promise<void> {
    await addPlaced(this.context.stateFolder, {}, (before) => placeCold(this.context, before, device));
  }

  override async start(options: CallOptions = {}): Promise<void> {
    const { config, stateFolder } = this.context;
    const devices = await readPlaced(stateFolder);
    const lapicIds = await chooseLapicIds(config.vcpus, chosenLapicIds(config), this.#host.cpus);
    this.#next.found = { lapicIds, devices, iasl: await findIasl() };
    await makeManagerFolder(this.#host.sockets);
    // Held until acrn-dm runs: it has taken its pages by then, and nobody else can have.
    const pages = await reserveHugePages(stateFolder, config.memoryMiB, options, this.#host.hugePages);
    try {
      await super.start(options);
    } finally {
      await pages.release();
    }
  }

  protected async answers(call: CallOptions): Promise<void> {
    await this.#control.ready({ ...call, timeoutMs: makeMs });
    const pid = this.vmm.identity()?.pid ?? 0;
    const scope = callScope('the making of the guest', { ...call, timeoutMs: makeMs });
    try {
      await served(pid, { signal: scope.signal });
      await requireTaps(pid, this.#next.found?.devices ?? []);
    } catch (error) {
      scope.throwIfEnded();
      if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'acrn-dm does not run any more', { cause: error });
      this.#next.refusal = VmError.from(error);
      await this.#interrupt({ signal: call.signal, timeoutMs: giveUpMs });
      throw this.#next.refusal.with(await this.lastWords());
    } finally {
      scope.release();
    }
  }

  /**
   * Asks acrn-dm to end, then has it end. Not by its monitor, which leaves its main loop asleep; not by SIGTERM, which it ignores once
   * its guest uses ACPI.
   */
  async stop(options: StopOptions = {}): Promise<void> {
    this.#stopping = true;
    if (options.force !== true) await this.#interrupt({ signal: options.signal, timeoutMs: stopMs });
    await this.vmm.kill(options);
    await this.#clear();
  }

  /** Asks acrn-dm to end, and gives it time to write its log and to remove its sockets. */
  async #interrupt(call: CallOptions): Promise<void> {
    const identity = this.vmm.identity();
    if (identity === undefined || !signalProcess(identity, 'SIGINT')) return;
    try {
      await this.vmm.wait(call);
    } catch (error) {
      // One that does not end is ended all the same; a caller that gave up is not overruled.
      if (call.signal?.aborted === true) throw error;
    }
  }

  override async kill(options: CallOptions = {}): Promise<void> {
    await super.kill(options);
    await this.#clear();
  }

  /** acrn-dm crashes when a guest with a vsock powers off, after all that matters was done: that is named, and no more. */
  override async wait(options: CallOptions = {}): Promise<VmmExit> {
    const exit = await super.wait(options);
    const crashed = exit.signal === 'SIGSEGV' || exit.code === 139;
    if (!crashed) return exit;
    const when = this.#stopping ? 'while it stopped, as it was asked to' : 'at its end, or before';
    return { ...exit, reason: `acrn-dm crashed ${when}; it is known to when a guest with a vsock powers off` };
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<{ guestPath?: string }> {
    this.#requireAlive();
    let failure: unknown;
    const { slot } = await addPlaced(this.context.stateFolder, options, async (before) => {
      const placed = await placeSwapped(this.context, before, device);
      if (placed.device.kind !== 'block' || placed.slot === undefined)
        throw new VmError('INTERNAL', 'no disk was placed');
      const [slot, disk] = [placed.slot, fileOptions(placed.device, this.context.config)];
      const paths = [{ path: placed.device.path, access: 'write' as const }];
      let unsure = false;
      await withShown(this.vmm, { paths, fileBytes: placed.sizeBytes }, options, async (seen) => {
        await seen;
        try {
          await this.#control.insertDisk(slot, disk, () => (unsure = true), options);
        } catch (error) {
          if (!unsure) throw error;
          failure = error;
        }
      });
      return { ...placed, unsure };
    });
    const guestPath = pciAddress(slot ?? 0);
    if (failure === undefined) return { guestPath };
    const advice = `acrn-dm may have put it in, or do so later: look at ${guestPath} in the guest. The VM keeps the file.`;
    throw VmError.from(failure).with({ advice });
  }

  async check(): Promise<void> {
    const words = await this.lastWords();
    const pid = this.#requireAlive(words);
    const panic = panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
    if (!(await isServed(pid))) throw new VmError('VMM_FAILED', refused().rawMessage, { ...words, ...refused().facts });
  }

  /** acrn-dm can't pause a guest. */
  async runState(): Promise<'running'> {
    return 'running';
  }

  /** What the guest prints on its first serial line is in acrn-dm's own output; what is typed goes to another one. */
  override async console(): Promise<ConsoleLocation> {
    const { runtimeFolder, stateFolder } = this.context;
    return { protocol: 'unix', path: vmmFiles.consoleSocket(runtimeFolder), log: vmFiles.vmmLog(stateFolder) };
  }

  /** What acrn-dm itself had to say goes into the file at its end, behind what its guest has printed: a panic is not among the last lines. */
  override async lastWords(): Promise<{ log: string; console: string }> {
    const file = vmFiles.vmmLog(this.context.stateFolder);
    const lines = (await tail(file, { lines: consoleLines * 6, bytes: 65_536 })).split('\n');
    const panic = lines.findIndex((line) => panicIn(line) !== undefined);
    const from = panic === -1 ? -consoleLines : panic;
    const console = lines.slice(from).slice(0, consoleLines).join('\n');
    return { log: await tail(file), console };
  }

  override async cleanup(): Promise<void> {
    await this.#clear();
    await super.cleanup();
  }

  /** What acrn-dm leaves when it ends or is killed, and what was reserved for it. */
  async #clear(): Promise<void> {
    await removeOwnSockets(this.context.runtimeFolder);
    await removeSockets(this.context.id, this.#host.sockets);
    await releaseHugePages(this.context.stateFolder, this.#host.hugePages);
  }

  #requireAlive(words: { log?: string; console?: string } = {}): number {
    const pid = this.vmm.identity()?.pid;
    if (pid !== undefined && this.vmm.alive()) return pid;
    throw new VmError('VMM_GONE', 'acrn-dm does not run any more', words);
  }
}

/** iasl, where its path is one that a shell takes for nothing else: acrn-dm calls it through one. */
async function findIasl(): Promise<string | undefined> {
  const path = await findProgram('iasl').catch(() => undefined);
  return path !== undefined && /^[\w./-]+$/.test(path) ? path : undefined;
}
