import { open } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { assetPath } from '../config/assets.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { isAlive, type ProcessIdentity, signalProcess } from '../state/process-identity.ts';
import { readExit } from '../transports/process/exit-status.ts';
import { launch } from '../transports/process/launch.ts';
import type { LaunchedProcess } from '../transports/process/launched-process.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
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
  #launched: LaunchedProcess | undefined;
  #identity: ProcessIdentity | undefined;

  constructor(context: VmContext) {
    this.#context = context;
  }

  /** @throws {VmError} HYPERVISOR_NOT_FOUND or HYPERVISOR_TOO_OLD, in the probe's words */
  async findBinary(probe: (host: HostFacts, path?: string) => Promise<HostVerdict>): Promise<string> {
    return usableBinary(await probe(await readHostFacts(), assetPath(this.#context.config, 'hypervisor')));
  }

  /** Makes the files of a plan. They must not exist: the folder is new. */
  async writeFiles(plan: LaunchPlan): Promise<void> {
    for (const { path, content, mode } of plan.files) {
      const file = await open(path, 'wx', mode);
      try {
        await file.writeFile(content);
      } finally {
        await file.close();
      }
    }
  }

  async launch(plan: LaunchPlan, options: CallOptions): Promise<void> {
    const { stateFolder, pruneArgv } = this.#context;
    this.#launched = await launch({
      argv: [plan.binary, ...plan.argv],
      env: plan.env,
      lease: vmFiles.lease(stateFolder),
      exitFile: vmFiles.exit(stateFolder),
      stdout: vmFiles.vmmLog(stateFolder),
      stderr: vmFiles.vmmLog(stateFolder),
      prune: pruneArgv,
      signal: options.signal,
    });
    this.#identity = this.#launched.identity;
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
    if (this.#launched !== undefined) return this.#launched.waitExit(options);
    await waitGone(this.#identity, options);
    // What another process's keeper wrote down; a detached VMM has none.
    return (await readExit(vmFiles.exit(this.#context.stateFolder))) ?? {};
  }

  /** Ends the process at once, and waits until it and its keeper are gone. Does nothing when it has ended. */
  async kill(options: CallOptions = {}): Promise<void> {
    if (this.#launched !== undefined) {
      await this.#launched.end();
      return;
    }
    if (this.#identity === undefined) return;
    if (signalProcess(this.#identity, 'SIGKILL'))
      await this.wait({ signal: options.signal, timeoutMs: options.timeoutMs ?? killMs });
  }

  /** Leaves the process without an owner and without a keeper. */
  async detach(): Promise<void> {
    if (this.#launched === undefined)
      throw new VmError('INVALID_STATE', 'only the process that started a VM can detach it');
    await this.#launched.detach();
    this.#launched = undefined;
  }

  /** Lets go of the lease; the process must have ended. */
  async cleanup(): Promise<void> {
    await this.#launched?.end();
  }
}
