import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** How many clients the agent takes at once. */
const channels = 8;
/** The host's port on which the agent says that it listens. */
const announcePort = 1025;

/** The real agent as a process of the host, behind a hybrid vsock as a VMM would serve it. It ends with this process. */
export class FakeGuest {
  readonly #agent: ChildProcess;
  readonly #folder: string;
  readonly #taken = new Set<number>();
  readonly #connections = new Set<net.Socket>();
  readonly #server: net.Server;

  private constructor(agent: ChildProcess, folder: string, vsock: string) {
    this.#agent = agent;
    this.#folder = folder;
    this.#server = net.createServer((client) => this.#connect(client));
    this.#server.listen(vsock);
  }

  /**
   * @param vsock path of the socket on which the guest's vsock ends
   * @param console what the guest prints goes there
   * @param announce whether it says that it listens, as after a boot
   */
  static async start(vsock: string, console: (text: string) => void, announce: boolean): Promise<FakeGuest> {
    const folder = path.resolve('guest');
    const agent = await startAgent(folder, console);
    const guest = new FakeGuest(agent, folder, vsock);
    if (announce)
      net
        .connect(`${vsock}_${announcePort}`)
        .on('error', () => undefined)
        .end();
    return guest;
  }

  /** Calls back when the guest has powered off. */
  onEnd(act: () => void): void {
    this.#agent.on('exit', act);
  }

  pause(): void {
    this.#agent.kill('SIGSTOP');
  }

  resume(): void {
    this.#agent.kill('SIGCONT');
  }

  end(): void {
    this.#server.close();
    this.#agent.kill('SIGKILL');
  }

  /** Ends all connections, as a snapshot does. */
  reset(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  /** `CONNECT port`, answered by `OK port`, and then bytes both ways. */
  #connect(client: net.Socket): void {
    this.#connections.add(client);
    client.on('close', () => this.#connections.delete(client)).on('error', () => client.destroy());
    let line = '';
    const read = (): void => {
      for (let byte = client.read(1) as Buffer | null; byte !== null; byte = client.read(1) as Buffer | null) {
        line += byte.toString('latin1');
        if (!line.endsWith('\n')) continue;
        client.removeListener('readable', read);
        this.#join(client, line);
        return;
      }
    };
    client.on('readable', read);
  }

  #join(client: net.Socket, line: string): void {
    const channel = Array.from({ length: channels }, (_, at) => at).find((at) => !this.#taken.has(at));
    if (line !== 'CONNECT 1024\n' || channel === undefined) return void client.destroy();
    this.#taken.add(channel);
    const agent = net.connect(path.join(this.#folder, `agent${channel}.sock`));
    const over = (): void => {
      this.#taken.delete(channel);
      client.destroy();
      agent.destroy();
    };
    agent.on('close', over).on('error', over);
    client.on('close', over);
    client.write('OK 1073741824\n');
    client.pipe(agent).pipe(client);
  }
}

/**
 * Starts the real agent as a process of the host that ends with this one, and waits until it listens.
 * @param folder its channels are sockets in it
 * @param console what the guest prints goes there
 */
export async function startAgent(folder: string, console: (text: string) => void): Promise<ChildProcess> {
  mkdirSync(folder, { recursive: true });
  const program = process.env['FAKE_AGENT'] ?? '';
  const agent = spawn(
    '/usr/bin/setpriv',
    ['--pdeathsig', 'KILL', '--', program, '--host', folder, '--channels', String(channels)],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/', env: { PATH: '/usr/bin:/bin' } },
  );
  for await (const line of createInterface(agent.stdout)) {
    console(`${line}\n`);
    if (line.endsWith('ready')) break;
  }
  agent.stdout.resume();
  return agent;
}

/** Names threads of this process as a VMM names those that run vCPUs. */
export function nameVcpuThreads(count: number, nameOf: (vcpu: number) => string): void {
  const threads = readdirSync('/proc/self/task').filter((thread) => Number(thread) !== process.pid);
  for (let vcpu = 0; vcpu < count; vcpu++) writeFileSync(`/proc/self/task/${threads[vcpu] ?? ''}/comm`, nameOf(vcpu));
}
