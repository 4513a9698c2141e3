import type { Duplex } from 'node:stream';
import { callScope, type CallOptions, type CallScope } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type {
  CopiedFiles,
  Exec,
  ExecOptions,
  GetFilesOptions,
  GuestAgent,
  GuestArchive,
  GuestEvent,
  GuestInfo,
  GuestListener,
  GuestResources,
  PutFilesOptions,
  SyncOptions,
} from '../agent.ts';
import { ExecHandle } from '../exec.ts';
import { execRequest, integer, type ExecRequest } from '../exec-request.ts';
import { NativeConnection } from './connection.ts';
import { checkAddress } from './address.ts';
import { type Fields, FieldWriter } from './fields.ts';
import type { Hello } from './hello.ts';
import { NativeListener } from './listener.ts';
import { NativeProcess } from './process.ts';
import { NativeGet } from './get.ts';
import { NativePut } from './put.ts';
import { request } from './request.ts';
import { Session } from './session.ts';
import { OUTPUT_WINDOW, spawnPayload } from './spawn.ts';
import { syncPayload } from './sync.ts';
import { FrameType, PowerOffMode, Tag } from './wire.ts';

/** Time for a guest to answer HELLO when the caller sets no end by either option, in milliseconds. */
const CONNECT_MS = 60_000;
/** Default time for a request that the agent answers at once, in milliseconds. */
const REQUEST_MS = 30_000;

export interface ConnectOptions extends CallOptions {
  /** whether the guest notices a closed stream, as the driver says of its channel */
  showsHangup: boolean;
  /** most bytes of each output that may be under way, on a channel that loses what is not read in time */
  lossyWindow?: number | undefined;
  /** what the agent tells unasked */
  onEvent?: ((event: GuestEvent) => void) | undefined;
  /** is given to the agent before it has said a word: of one that is known to take it */
  first?: FirstSync | undefined;
}

/** A sync that does not wait for the agent's greeting. */
export interface FirstSync {
  /** it is sent when this has settled, and not at all when it rejects */
  after: Promise<unknown>;
  sync: () => SyncOptions;
}

/**
 * Begins a session with our agent on a fresh byte stream, and owns that stream from then on: it is closed when this fails.
 * @param options timeoutMs is 60,000 by default when there is no signal either
 * @throws {VmError} TIMEOUT, ABORTED, AGENT_PROTOCOL, AGENT_FAILED (it refused us, or the first sync), AGENT_GONE
 */
export async function connectAgent(stream: Duplex, options: ConnectOptions): Promise<GuestAgent> {
  const { signal, showsHangup, lossyWindow, onEvent, first } = options;
  const timeoutMs = options.timeoutMs ?? (signal === undefined ? CONNECT_MS : undefined);
  let scope;
  try {
    integer('timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    scope = callScope('connecting to the guest agent', { signal, timeoutMs });
    scope.throwIfEnded();
  } catch (error) {
    scope?.release();
    stream.on('error', () => {}).destroy();
    throw error;
  }
  const session = new Session(stream, { showsHangup, lossyWindow, onEvent });
  try {
    const [hello] = await scope.race(Promise.all([session.hello, first && syncFirst(session, first)]));
    return new NativeAgent(session, hello);
  } catch (error) {
    session.fail(VmError.from(error));
    throw error;
  } finally {
    scope.release();
  }
}

async function syncFirst(session: Session, { after, sync }: FirstSync): Promise<void> {
  await after;
  await request(session, 'sync', FrameType.SYNC, syncPayload(sync()));
}

/** A session with the agent of guest/agent/. */
class NativeAgent implements GuestAgent {
  readonly features: ReadonlySet<string>;
  readonly version: string;
  readonly bootId: string;
  readonly closed: Promise<VmError | undefined>;
  readonly #session: Session;

  constructor(session: Session, hello: Hello) {
    this.#session = session;
    this.closed = session.closed;
    this.features = hello.features;
    this.version = hello.agent;
    this.bootId = hello.bootId;
  }

  exec(command: string | readonly string[], options?: ExecOptions): Exec {
    const checked = execRequest(command, options);
    const payload = spawnPayload(checked, this.#session.windowFor(OUTPUT_WINDOW));
    const process = new NativeProcess(this.#session, checked);
    const refusal = this.#refusal(checked);
    if (refusal === undefined) process.start(payload);
    else process.abandon(refusal);
    return new ExecHandle(process, checked);
  }

  async sync(o: SyncOptions, call?: CallOptions): Promise<void> {
    await this.#request('sync', FrameType.SYNC, call, syncPayload(o));
  }

  async info(call?: CallOptions): Promise<GuestInfo> {
    const fields = await this.#request('info', FrameType.INFO, call);
    return this.#parsed(() => parseInfo(fields));
  }

  async online(call?: CallOptions): Promise<GuestResources> {
    const fields = await this.#request('online', FrameType.ONLINE, call);
    return this.#parsed(() => parseResources(fields));
  }

  async rescan(call?: CallOptions): Promise<void> {
    await this.#request('rescan', FrameType.RESCAN, call);
  }

  async prepare(call?: CallOptions): Promise<void> {
    await this.#request('prepare', FrameType.PREPARE, call);
  }

  async putFiles(
    archive: AsyncIterable<Uint8Array>,
    target: string,
    options: PutFilesOptions = {},
  ): Promise<CopiedFiles> {
    if (!this.features.has('put')) throw this.#lacks('put', 'put');
    return await new NativePut(this.#session, target, options).run(archive);
  }

  getFiles(path: string, options: GetFilesOptions = {}): GuestArchive {
    if (!this.features.has('get')) throw this.#lacks('get', 'get');
    if (options.image === true && !this.features.has('image')) throw this.#lacks('image', 'get');
    return new NativeGet(this.#session, path, options);
  }

  async dial(address: string, call?: CallOptions): Promise<Duplex> {
    if (!this.features.has('dial')) throw this.#lacks('dial', 'dial');
    const connection = new NativeConnection(this.#session, checkAddress(address, 'dial'));
    return await this.#bounded('dial', call, async (scope) => {
      connection.dial();
      try {
        await scope.race(connection.connected);
      } catch (error) {
        connection.stream.destroy();
        throw error;
      }
      return connection.stream;
    });
  }

  async listen(
    address: string,
    onConnection: (stream: Duplex, from: string) => void,
    call?: CallOptions,
  ): Promise<GuestListener> {
    if (!this.features.has('listen')) throw this.#lacks('listen', 'listen');
    const checked = checkAddress(address, 'listen');
    return await this.#bounded('listen', call, async (scope) => {
      const listener = new NativeListener(this.#session, checked, onConnection);
      try {
        await scope.race(listener.started);
      } catch (error) {
        void listener.close();
        throw error;
      }
      return listener;
    });
  }

  async ping(call?: CallOptions): Promise<void> {
    await this.#bounded('ping', call, () => this.#session.ping());
  }

  async powerOff(mode: 'poweroff' | 'reboot' | 'halt' = 'poweroff', call?: CallOptions): Promise<void> {
    const number = Object.hasOwn(PowerOffMode, mode) ? PowerOffMode[mode] : undefined;
    if (number === undefined)
      throw new VmError('INVALID_ARGUMENT', `mode: must be poweroff, reboot or halt, not ${JSON.stringify(mode)}`);
    if (this.#session.failure !== undefined) throw this.#session.failure;
    try {
      await this.#request('poweroff', FrameType.POWEROFF, call, new FieldWriter().int(Tag.MODE, number).finish());
    } catch (error) {
      // A guest that goes down may take its answer with it.
      if (!(error instanceof VmError && error.code === 'AGENT_GONE')) throw error;
    }
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #request(operation: string, type: FrameType, call: CallOptions | undefined, payload?: Buffer): Promise<Fields> {
    if (!this.features.has(operation)) throw this.#lacks(operation, operation);
    return await this.#bounded(operation, call, () => request(this.#session, operation, type, payload));
  }

  /** An answer that isn't as specified ends the session. */
  #parsed<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      this.#session.fail(VmError.from(error));
      throw error;
    }
  }

  async #bounded<T>(
    operation: string,
    call: CallOptions | undefined,
    run: (scope: CallScope) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = integer('timeoutMs', call?.timeoutMs, 1, 2 ** 31 - 1) ?? REQUEST_MS;
    const scope = callScope(`${operation} of the guest`, { signal: call?.signal, timeoutMs });
    try {
      scope.throwIfEnded();
      return await scope.race(run(scope));
    } catch (error) {
      throw VmError.from(error).with({ operation });
    } finally {
      scope.release();
    }
  }

  /** Why this command is not even begun. */
  #refusal(checked: ExecRequest): VmError | undefined {
    const facts = { operation: 'exec', path: checked.argv[0] };
    if (checked.signal?.aborted === true) {
      return new VmError('ABORTED', 'the command was aborted before it began', {
        ...facts,
        cause: checked.signal.reason,
      });
    }
    if (checked.pty !== undefined && !this.features.has('pty')) return this.#lacks('pty', 'exec').with(facts);
    const limited = [checked.maxPids, checked.maxMemoryBytes, checked.maxCpuThousandths].some((it) => it !== undefined);
    if (limited && !this.features.has('cgroup')) return this.#lacks('cgroup', 'exec').with(facts);
    return undefined;
  }

  #lacks(feature: string, operation: string): VmError {
    return new VmError('UNSUPPORTED', `this guest's agent lacks the feature ${feature}`, { operation });
  }
}

function parseResources(fields: Fields): GuestResources {
  return {
    cpus: fields.int(Tag.CPUS_ONLINE),
    memoryBlocks: fields.int(Tag.MEMORY_BLOCKS),
    memoryBlockBytes: fields.int(Tag.MEMORY_BLOCK_BYTES),
  };
}

function parseInfo(fields: Fields): GuestInfo {
  return {
    uptimeMs: fields.int(Tag.UPTIME_MS),
    memoryTotalBytes: fields.int(Tag.MEMORY_TOTAL),
    memoryAvailableBytes: fields.int(Tag.MEMORY_AVAILABLE),
    cpusOnline: fields.int(Tag.CPUS_ONLINE),
    reseeds: fields.int(Tag.RESEEDS),
    processes: fields.int(Tag.PROCESSES),
  };
}
