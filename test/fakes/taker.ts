// Takes a VM from a cache server and holds it until this process is killed; or only asks for one, as a client that dies at once does.
// Says what it has as a line of JSON.
import { CacheClient } from '../../src/factory/cache-client.ts';
import { Vm } from '../../src/sandbox/vm.ts';

const [endpoint = '', then = ''] = process.argv.slice(2);
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (then === 'ask') {
  const { id } = await new CacheClient(endpoint).getBaseVm();
  say({ id, phase: 'asked' });
} else {
  const factory = await Vm.factory({ endpoint });
  const vm = await factory.getVm({ name: `taken-by-${process.pid}` });
  const { folders, pid } = await vm.inspect();
  await vm.exec(['true'], { check: true });
  say({ name: vm.name, id: vm.id, pid, folders });
}
setInterval(() => undefined, 60_000);
