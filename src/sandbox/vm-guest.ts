import type { Duplex, Readable, Writable } from 'node:stream';
import type { CallOptions } from '../config/call-options.ts';
import type { HypervisorType } from '../config/hypervisor-type.ts';
import { VmError } from '../errors.ts';
import type { CopiedFiles, Exec, ExecOptions, GuestAgent } from '../guest/agent.ts';
import type { Hypervisor } from '../hypervisors/hypervisor.ts';
import type { VmStore } from '../state/store.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import type { AgentLink } from './agent-link.ts';
import { bringBack, type BroughtBack } from './bring-back.ts';
import { openConsole } from './console.ts';
import { copyIn, type CopyOptions, copyOut, type CopyOutOptions } from './copy/copy.ts';
import { startForwarder } from './forwarder.ts';
import type { HeldVm } from './held-vm.ts';
import type { OpenedVm } from './opened-vm.ts';
import type { PortForward, PortForwardOptions } from './port-forward.ts';
import { type PublishedPort, servePort } from './ports.ts';
import { imageOptions } from './image-options.ts';
import { loginShell, type ShellOptions } from './shell.ts';
import type { Telemetry } from './telemetry.ts';

/**
 * What the guest of a VM can be asked to do: commands, copies, connections, its console. A {@link Vm} is one of these with a life.
 */
export class VmGuest {
  readonly id: string;
  readonly hypervisor: HypervisorType;
  protected readonly held: HeldVm;
  protected readonly telemetry: Telemetry;
  protected link: AgentLink | undefined;
  readonly #forwards = new Set<PortForward>();

  protected constructor({ held, link, telemetry }: OpenedVm) {
    this.id = held.id;
    this.hypervisor = held.hypervisor.type;
    this.held = held;
    this.link = link;
    this.telemetry = telemetry;
  }

  /** The VM's name when this handle last looked: another process may have renamed it. The handle finds it by its id all the same. */
  get name(): string {
    return this.held.name;
  }

  protected get store(): VmStore {
    return this.held.store;
  }

  protected get vmm(): Hypervisor {
    return this.held.hypervisor;
  }

  /** The guest's agent. @throws {VmError} AGENT_GONE before `start`, after `open`, `close`, `stop`, `kill` or `remove` */
  get agent(): GuestAgent {
    if (this.link === undefined)
      throw new VmError('AGENT_GONE', `this handle of ${this.name} has no connection to its guest`, {
        name: this.name,
      });
    return this.link.agent;
  }

  /** What the image that the VM was made of says: entrypoint, command, environment. Undefined for the default guest and for a disk. */
  get imageConfig(): Readonly<RootConfig> | undefined {
    return this.held.imageConfig;
  }

  /**
   * Runs a command in the guest: argv, or a string for its shell. See {@link GuestAgent.exec}. What an image says of environment, user and
   * working folder holds where the options say nothing; its entrypoint is not put in front.
   */
  exec(command: string | readonly string[], options?: ExecOptions): Exec {
    const exec = this.agent.exec(command, imageOptions(this.held.imageConfig, options));
    // The program's name alone: arguments may hold secrets.
    const program = typeof command === 'string' ? undefined : command[0];
    this.telemetry.follow('exec', { vm: this.name, program }, async () => {
      const { exitCode, signal, timedOut } = await exec.exited;
      return { exitCode, signal, timedOut };
    });
    return exec;
  }

  /**
   * Copies a path of this host into the guest by cp's rules (docs/copying.md), or unpacks a tar stream into a folder there.
   * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID, ARCHIVE_INVALID, COPY_INCOMPLETE, INVALID_ARGUMENT, IO, AGENT_FAILED,
   *   AGENT_GONE, UNSUPPORTED, BUSY, TIMEOUT, ABORTED
   */
  copyIn(source: string | Readable, target: string, options?: CopyOptions): Promise<CopiedFiles> {
    return this.telemetry.span('copyIn', { vm: this.name }, () => copyIn(this.agent, source, target, options));
  }

  /**
   * Copies a path of the guest to one of this host, or as a tar archive into a stream, which is ended. What the guest sends is not trusted.
   * @throws {VmError} what `copyIn` throws; COPY_LIMIT
   */
  copyOut(source: string, target: string | Writable, options?: CopyOutOptions): Promise<CopiedFiles> {
    return this.telemetry.span('copyOut', { vm: this.name }, () => copyOut(this.agent, source, target, options));
  }

  /**
   * Brings folders of this host that the guest has copies of, since the VMM shares none, up to what the guest has made of them, as `stop` and
   * `remove` do: what is new or has changed there is written, what was removed there is removed. What has changed here since stays, and the
   * guest's own is put beside it: those are the conflicts of the result.
   * @throws {VmError} STATE_INVALID, BUSY, and what `copyOut` throws
   */
  async bringBack(call: CallOptions = {}): Promise<BroughtBack> {
    return this.telemetry.span('bringBack', { vm: this.name }, () => bringBack(this.held, () => this.agent, call));
  }

  /**
   * Connects to a server in the guest, with no network device: `tcp:HOST:PORT` or `unix:/path`. See {@link GuestAgent.dial}.
   * @throws {VmError} CONNECT_FAILED, INVALID_ARGUMENT, AGENT_GONE, UNSUPPORTED, BUSY, TIMEOUT, ABORTED
   */
  dial(address: string, call?: CallOptions): Promise<Duplex> {
    return this.agent.dial(address, call);
  }

  /**
   * Takes connections on a port of this host to a server in the guest, with no network device, for as long as this handle is connected to
   * the guest. A client is refused while the server does not listen.
   * @throws {VmError} INVALID_ARGUMENT, BUSY when the port is in use, PERMISSION, IO, AGENT_GONE
   */
  async forwardPort(options: PortForwardOptions): Promise<PortForward> {
    const forward = await servePort(this.held, this.agent, options);
    this.#forwards.add(forward);
    void forward.closed.then(() => this.#forwards.delete(forward));
    return forward;
  }

  /**
   * Has one process of ours forward ports, each `[addr:]host:guest`, for as long as the VM runs, also when this process has ended: for a VM
   * that is detached. It is started again with the VM, and listed by `inspect`.
   * @throws {VmError} INVALID_ARGUMENT, BUSY when a port is in use, PERMISSION, IO, AGENT_GONE
   */
  async publishPorts(ports: readonly string[]): Promise<PublishedPort[]> {
    return startForwarder(this.held, ports);
  }

  /** A login shell on a terminal of its own, with its input open: bash where the guest has it, else sh. */
  shell(options: ShellOptions = {}): Exec {
    return this.exec(loginShell, { stdin: 'pipe', pty: true, ...options });
  }

  /**
   * Attaches to the guest's console, for one client at a time. What is not read slows the console down; destroying the stream detaches.
   * @throws {VmError} BUSY when another one is attached, UNSUPPORTED, INVALID_STATE, TIMEOUT, ABORTED
   */
  console(call?: CallOptions): Promise<Duplex> {
    const stateFolder = this.store.folder(this.name);
    return openConsole({ name: this.name, hypervisor: this.vmm, stateFolder }, call);
  }

  protected async dropLink(): Promise<void> {
    const link = this.link;
    this.link = undefined;
    await Promise.all([...this.#forwards].map((forward) => forward.close()));
    await link?.close();
  }
}
