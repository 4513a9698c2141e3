import { once } from 'node:events';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeVm } from '../../../src/sandbox/inspect.ts';
import { portsOf } from '../../../src/sandbox/ports.ts';
import { stopVm } from '../../../src/sandbox/stop-vm.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { isAlive } from '../../../src/state/process-identity.ts';
import type { VmRecord } from '../../../src/state/record.ts';
import { VmStore } from '../../../src/state/store.ts';
import { until } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';

const mock = { hypervisor: 'mock' };
let server: net.Server;
let guestPort: number;
// The mock's guest is this host: a server here is one of the guest.
beforeEach(async () => {
  server = net.createServer((client) => client.on('error', () => {}).end('from the guest'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  guestPort = (server.address() as net.AddressInfo).port;
});
afterEach(() => server.close());

/** What a server says through a port of the host, or the errno of the connection. */
async function read(hostPort = 0): Promise<string> {
  try {
    return await text(net.connect(hostPort, '127.0.0.1'));
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

const recordOf = (name: string): Promise<VmRecord> => new VmStore().read(name);

describe('forwardPort', () => {
  it('serves until it is closed, or the handle is', async () => {
    const vm = await Vm.create(mock);
    try {
      const forward = await vm.forwardPort({ guestPort });
      expect(await read(forward.hostPort)).toBe('from the guest');
      const listed = { hostAddress: '127.0.0.1', hostPort: forward.hostPort, guest: `tcp:127.0.0.1:${guestPort}` };
      expect(await portsOf(vm.name)).toEqual([{ ...listed, pid: process.pid }]);
      await forward.close();
      expect(await forward.closed).toBeUndefined();
      expect(await read(forward.hostPort)).toBe('ECONNREFUSED');
      expect(await portsOf(vm.name)).toEqual([]);
      const other = await vm.forwardPort({ guestPort });
      const client = net.connect(other.hostPort ?? 0, '127.0.0.1').on('error', () => {});
      await once(client, 'connect');
      await vm.close();
      if (!client.closed) await once(client.resume(), 'close');
      expect(await read(other.hostPort)).toBe('ECONNREFUSED');
    } finally {
      await vm.remove();
    }
  });

  it('ends with the VM, and says why', async () => {
    const vm = await Vm.create(mock);
    const forward = await vm.forwardPort({ guestPort });
    process.kill((await vm.inspect()).pid ?? 0, 'SIGKILL');
    expect(await forward.closed).toMatchObject({ code: 'AGENT_GONE' });
    expect(await read(forward.hostPort)).toBe('ECONNREFUSED');
    await vm.remove();
  });

  it('refuses wrong options before it listens', async () => {
    const vm = await Vm.create(mock);
    try {
      for (const options of [
        {},
        { guestPort: 0 },
        { guestPort: 70_000 },
        { guestPort, hostPort: -1 },
        { guestPort, hostAddress: 'localhost' },
        { guestPort, hostAddress: '192.0.2.1' },
        { guestPort, guestPath: '/a' },
        { guestPort, hostPath: '/a', hostPort: 1 },
      ])
        expect(await codeOf(vm.forwardPort(options)), JSON.stringify(options)).toBe('INVALID_ARGUMENT');
      expect(await codeOf(vm.forwardPort({ guestPort, hostPort: guestPort }))).toBe('BUSY');
      expect(await portsOf(vm.name)).toEqual([]);
    } finally {
      await vm.remove();
    }
  });
});

describe('publishPorts', () => {
  it('leaves one process, which outlives us, owns nothing, and ends with the VM', async () => {
    const vm = await Vm.create({ ...mock, name: 'web' });
    const [port, ...others] = await vm.publishPorts([`0:${guestPort}`]);
    expect(others).toEqual([]);
    await vm.detach();
    await vm.close();
    expect(await read(port?.hostPort)).toBe('from the guest');
    const record = await recordOf('web');
    expect(record).toMatchObject({ forwarder: { pid: port?.pid }, publish: [`0:${guestPort}`] });
    expect(record.owner ?? record.keeper).toBeUndefined();

    // It is there again with the next start, and no sooner.
    await stopVm('web');
    expect(record.forwarder === undefined || isAlive(record.forwarder)).toBe(false);
    expect(await codeOf(portsOf('web'))).toBe('NOT_RUNNING');
    const again = await Vm.open('web');
    await again.start();
    await again.close();
    const [second] = await portsOf('web');
    expect(second?.pid).not.toBe(port?.pid);
    expect(await read(second?.hostPort)).toBe('from the guest');

    // One that is killed is not listed; the VM does not mind.
    process.kill(second?.pid ?? 0, 'SIGKILL');
    await until('it is gone', async () => (await portsOf('web')).length === 0);
    await removeVm('web', { force: true });
  });

  it('ends it when the VMM is killed, and when the VM is removed while it hangs', async () => {
    const vm = await Vm.create({ ...mock, name: 'killed', detached: true });
    await vm.publishPorts([String(guestPort)]);
    const { forwarder } = await recordOf('killed');
    process.kill((await vm.inspect()).pid ?? 0, 'SIGKILL');
    await until('the forwarder has ended', () => forwarder !== undefined && !isAlive(forwarder));
    await vm.remove();

    const other = await Vm.create({ ...mock, name: 'hung', detached: true });
    const [port] = await other.publishPorts([String(guestPort)]);
    process.kill(port?.pid ?? 0, 'SIGSTOP');
    await other.close();
    await removeVm('hung', { force: true });
  });

  it('fails as a whole when a port is in use, and leaves nothing', async () => {
    const vm = await Vm.create(mock);
    try {
      expect(await codeOf(vm.publishPorts(['wrong']))).toBe('INVALID_ARGUMENT');
      expect(await codeOf(vm.publishPorts([`0:${guestPort}`, `${guestPort}:80`]))).toBe('BUSY');
      expect(await portsOf(vm.name)).toEqual([]);
      expect((await vm.inspect()).pids).toHaveLength(1);
    } finally {
      await vm.remove();
    }
  });
});
