import type { Duplex, Readable, Writable } from 'node:stream';
import type { CallOptions } from '../config/call-options.ts';
import type { VmError } from '../errors.ts';

/** What is asked of a guest, whichever agent is inside it. One object is one session. */
export interface GuestAgent extends AsyncDisposable {
  /** what this agent can do, as it says itself: `spawn`, `pty`, `cgroup`, ... */
  readonly features: ReadonlySet<string>;
  /** the agent's own version */
  readonly version: string;
  /** changes with each boot of the guest */
  readonly bootId: string;
  /** Settles when the channel is gone: with the reason, or undefined after `close()`. Never rejects. */
  readonly closed: Promise<VmError | undefined>;

  /**
   * Starts a command at once. A string is given to `/bin/sh -c`, an array is the argv. What it returns can be awaited for the
   * result, or iterated for the output as it comes.
   * @throws {VmError} INVALID_ARGUMENT at once, when an argument is wrong. All else rejects what awaits the result:
   *   GUEST_NOT_FOUND, GUEST_NOT_EXECUTABLE, EXEC_FAILED, NONZERO_EXIT (with `check`), OUTPUT_LIMIT, TIMEOUT, ABORTED, IO (the source
   *   of stdin failed), UNSUPPORTED (the agent lacks what an option needs), BUSY (256 at once), AGENT_GONE, AGENT_PROTOCOL, AGENT_FAILED
   */
  exec(command: string | readonly string[], options?: ExecOptions): Exec;

  /**
   * Gives the guest what a fresh boot or a clone needs.
   * @param o entropy: 32 to 512 random bytes; clockNs: nanoseconds since the epoch; hostname: 1 to 63 bytes; machineId: 32 hexadecimal
   *   digits for /etc/machine-id, which an agent without the feature `machine-id` refuses
   * @throws {VmError} INVALID_ARGUMENT, and what every request throws
   */
  sync(o: SyncOptions, call?: CallOptions): Promise<void>;

  /**
   * The guest's figures.
   * @throws {VmError} what every request throws: TIMEOUT (after 30 s by default), ABORTED, UNSUPPORTED, BUSY, AGENT_GONE, AGENT_FAILED, AGENT_PROTOCOL
   */
  info(call?: CallOptions): Promise<GuestInfo>;

  /**
   * Takes every CPU and memory block into use that the guest's kernel has found so far; it waits for none to come.
   * Throws what every request throws; AGENT_FAILED when one of them can't be taken into use.
   */
  online(call?: CallOptions): Promise<GuestResources>;

  /**
   * Gets a process ready for the next command: a guest that is saved now starts the first one sooner, whenever it goes on. It serves one that
   * is root's, has no terminal and no limits; any other ends it. Throws what every request throws.
   */
  prepare(call?: CallOptions): Promise<void>;

  /** Has the guest look for PCI devices that it wasn't told of. Throws what every request throws. */
  rescan(call?: CallOptions): Promise<void>;

  /**
   * Unpacks a tar archive into the guest's file system, as root there. A file takes its name when it is whole; links are not followed.
   * @param target absolute. With `top`, the name of the archive's one entry, cp's rules say where that goes: into a folder that
   *   exists, else under the target's own name. Without it the target must be a folder, and the entries go into it.
   * @throws {VmError} FILE_NOT_FOUND, FILE_INVALID, ARCHIVE_INVALID, AGENT_FAILED, UNSUPPORTED, BUSY, TIMEOUT, ABORTED, AGENT_GONE,
   *   AGENT_PROTOCOL; what the archive's source throws
   */
  putFiles(archive: AsyncIterable<Uint8Array>, target: string, options?: PutFilesOptions): Promise<CopiedFiles>;

  /**
   * Reads a file or a folder of the guest as a tar archive, as root there. Its one top entry has the path's last name; `.` when the
   * path ends with `/.`. **Nothing in it is to be trusted.** What fails is told by the stream: what `putFiles` throws.
   */
  getFiles(path: string, options?: GetFilesOptions): GuestArchive;

  /**
   * Connects to a server in the guest: `tcp:HOST:PORT` (an IPv4 address, an IPv6 address in brackets, or localhost) or `unix:/path`. It
   * needs no network device. Each direction of the stream ends for itself; destroying it breaks the connection off.
   * @throws {VmError} CONNECT_FAILED (`errno` is ECONNREFUSED, ENOENT, ...), INVALID_ARGUMENT, and what every request throws
   */
  dial(address: string, call?: CallOptions): Promise<Duplex>;

  /**
   * Listens in the guest on an address as in `dial`; port 0 is any free one. Each connection is given to `onConnection`, with who made it.
   * At most 128 are open at once; more wait.
   * @throws {VmError} AGENT_FAILED (`errno` is EADDRINUSE, ...), INVALID_ARGUMENT, and what every request throws
   */
  listen(
    address: string,
    onConnection: (stream: Duplex, from: string) => void,
    call?: CallOptions,
  ): Promise<GuestListener>;

  /** Settles when the agent has answered. Throws what every request throws. */
  ping(call?: CallOptions): Promise<void>;

  /** Has the guest power off (default), reboot or halt; settles when the agent has agreed, or its channel has ended. */
  powerOff(mode?: 'poweroff' | 'reboot' | 'halt', call?: CallOptions): Promise<void>;

  /** Ends the session and, unless detached, its commands. Settles when the stream is closed. Does nothing the second time. */
  close(): Promise<void>;
}

/** What a fresh boot or a clone is given. */
export interface SyncOptions {
  entropy?: Uint8Array | undefined;
  clockNs?: bigint | undefined;
  hostname?: string | undefined;
  machineId?: string | undefined;
  /** 6 bytes: every network card gets the address that it has with these bits turned; only with the feature `mac` */
  macMask?: Uint8Array | undefined;
}

/** Figures of a guest. */
export interface GuestInfo {
  uptimeMs: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  cpusOnline: number;
  /** how often `sync` has reseeded the guest's random generator since boot */
  reseeds: number;
  /** commands started by the agent and still alive */
  processes: number;
}

/** What the guest has in use. */
export interface GuestResources {
  cpus: number;
  memoryBlocks: number;
  /** size of each memory block, in bytes: memory comes and goes in multiples of it; 0 when the guest can't hot-plug memory */
  memoryBlockBytes: number;
}

/** How files are written in the guest. */
export interface PutFilesOptions extends CallOptions {
  top?: string | undefined;
}

/** How files are read from the guest. */
export interface GetFilesOptions extends CallOptions {
  /** a link that is the source itself stands for what it points to; default false */
  followLink?: boolean | undefined;
  /**
   * of `/`: as an image has it, with extended attributes and fifos, without what is mounted there; the guest's commands stand still
   * meanwhile; default false
   */
  image?: boolean | undefined;
}

/** What was copied. */
export interface CopiedFiles {
  /** files, folders and links */
  entries: number;
  /** of all files together */
  bytes: number;
}

/** An archive as it comes. What nobody takes stays in the guest. */
export interface GuestArchive {
  /** ends after the whole archive; destroying it ends the copy */
  readonly stream: Readable;
  /** What the guest says of it, after its end. Rejects with what destroyed the stream. */
  readonly done: Promise<CopiedFiles & { skipped: number; firstSkipped: string }>;
}

/** A socket that listens in a guest. */
export interface GuestListener extends AsyncDisposable {
  /** where it listens, with the port that was chosen */
  readonly address: string;
  /** Settles when it is closed: with the reason, or undefined after `close()`. Never rejects. */
  readonly closed: Promise<VmError | undefined>;
  /** Stops listening; what has been accepted lives on. */
  close(): Promise<void>;
}

/** What the agent tells unasked. */
export interface GuestEvent {
  event: 'shutdown' | 'oom' | 'log';
  /** the agent's words, stripped of control characters */
  message: string;
}

/** How a command is run in the guest. */
export interface ExecOptions extends CallOptions {
  /** working folder; default: the user's home, else `/` */
  cwd?: string | undefined;
  /** the whole environment, beside the defaults PATH, HOME, USER and (with `pty`) TERM */
  env?: Readonly<Record<string, string>> | undefined;
  /** `name`, `uid`, `name:group` or `uid:gid`; default root */
  user?: string | undefined;
  /** default `ignore`; with `pipe` the handle has a `stdin`; all else is sent, then the end of file */
  stdin?: 'ignore' | 'pipe' | (string & {}) | Uint8Array | Readable | AsyncIterable<string | Uint8Array> | undefined;
  /** stdin, stdout and stderr are one pseudo-terminal; its output is stdout. Default false; 24 rows and 80 columns with `true` */
  pty?: boolean | { rows: number; cols: number } | undefined;
  /** a non-zero exit rejects with NONZERO_EXIT; default false */
  check?: boolean | undefined;
  /** most bytes that are collected of each of stdout and stderr when awaited; default 16 MiB */
  maxOutputBytes?: number | undefined;
  /** `buffer`: the result's stdout and stderr are left empty, its stdoutBytes and stderrBytes hold the output; default `utf8` */
  encoding?: 'utf8' | 'buffer' | undefined;
  /** the command lives on after the session, and its output goes to the console; default false */
  detach?: boolean | undefined;
  /** most processes and threads that the command may have; no limit by default */
  maxPids?: number | undefined;
  /** most memory that the command may use, in MiB; no limit by default */
  maxMemoryMiB?: number | undefined;
  /** most CPUs' worth of time that the command may use, such as 0.5; no limit by default */
  maxCpus?: number | undefined;
}

/** How a command ended. */
export interface ExecExit {
  /** 128+n when signal n ended it */
  exitCode: number;
  /** such as `SIGKILL` */
  signal?: string;
  /** its `timeoutMs` ended it */
  timedOut: boolean;
  /** it ran out of its `maxMemoryMiB` */
  oomKilled: boolean;
}

/** How a command ended, and what it wrote. */
export interface ExecResult extends ExecExit {
  /** the output as text (invalid UTF-8 becomes U+FFFD); empty when it was taken by `exec.stdout` or by iteration */
  stdout: string;
  stderr: string;
  stdoutBytes: Buffer;
  stderrBytes: Buffer;
  /** from the call to the exit, on the host's clock */
  durationMs: number;
}

/** NONZERO_EXIT, TIMEOUT, ABORTED and OUTPUT_LIMIT of a command that has ended: what it had written until then is in `result`. */
export interface ExecError extends VmError {
  readonly result: ExecResult;
}

/** A piece of output, in the order in which it came. */
export interface ExecChunk {
  stream: 'stdout' | 'stderr';
  data: Buffer;
}

/**
 * A command that runs in a guest. Await it for the result, iterate over it for the output as it comes, or read `stdout` and
 * `stderr`. Output that nobody takes stays in the guest: the command waits once the guest may not send more. Ending an
 * iteration early ends the command. One that is never awaited raises no unhandled rejection.
 */
export interface Exec extends PromiseLike<ExecResult>, AsyncIterable<ExecChunk> {
  /** process id inside the guest; rejects when the command could not be started */
  readonly pid: Promise<number>;
  /** with `stdin: 'pipe'` only */
  readonly stdin: Writable | undefined;
  /** Whoever reads this property takes the stream: it is no longer in the awaited result. INVALID_STATE when it is taken already. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** How it ended, whatever `check` says; settles after its output was taken. Rejects when it could not be started or followed. */
  readonly exited: Promise<ExecExit>;
  readonly detached: boolean;
  /**
   * Sends a signal, SIGTERM by default, to the first process (with a terminal, to its foreground group), or with `tree` to all of
   * its tree. Does nothing to a command that has ended.
   * @throws {VmError} INVALID_ARGUMENT for an unknown signal; what `pid` rejects with
   */
  kill(signal?: NodeJS.Signals | number, options?: { tree?: boolean }): Promise<void>;
  /**
   * Ends the command's whole tree; settles after its exit. Output that nobody has taken by then may be lost.
   * @throws {VmError} AGENT_FAILED when no exit follows within 5 s; AGENT_GONE
   */
  cancel(): Promise<void>;
  /**
   * Tells the terminal's new size.
   * @throws {VmError} INVALID_STATE without `pty`; INVALID_ARGUMENT unless both are from 1 to 65535
   */
  resize(rows: number, cols: number): void;
}
