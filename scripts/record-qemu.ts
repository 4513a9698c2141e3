// Records what a QEMU knows of the commands, devices and objects that its driver names: test/fixtures/qemu-VERSION/interface.json.
// usage: tsx scripts/record-qemu.ts [path of qemu-system-x86_64]
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { connectQmp } from '../src/transports/qmp/client.ts';

interface SchemaEntry {
  name: string;
  'meta-type': string;
  'arg-type'?: string;
  members?: { name: string; type: string; default?: unknown }[];
}

const commands = [
  'blockdev-add blockdev-del chardev-add chardev-remove cont device_add device_del dump-guest-memory migrate migrate-incoming',
  'migrate-set-capabilities migrate-set-parameters migrate_cancel netdev_add netdev_del object-add object-del qmp_capabilities qom-get qom-set',
  'query-balloon query-blockstats query-cpus-fast query-hotpluggable-cpus query-machines query-memory-devices query-memory-size-summary',
  'query-migrate query-status quit stop',
].flatMap((line) => line.split(' '));
const devices = [
  'intel-iommu ioh3420 nvdimm pc-dimm pci-bridge pcie-root-port pvpanic scsi-hd vfio-pci vhost-user-blk-pci vhost-user-fs-pci',
  'vhost-user-scsi-pci vhost-vsock-pci virtio-9p-pci virtio-balloon-pci virtio-blk-pci virtio-mem-pci virtio-net-pci virtio-rng-device',
  'virtio-rng-pci virtio-scsi-pci virtio-serial-device virtio-serial-pci virtserialport vmgenid',
].flatMap((line) => line.split(' '));
const objects = 'iothread memory-backend-file memory-backend-memfd memory-backend-ram rng-random throttle-group'.split(
  ' ',
);
const events =
  'ACPI_DEVICE_OST BLOCK_IO_ERROR DEVICE_DELETED DEVICE_UNPLUG_GUEST_ERROR DUMP_COMPLETED GUEST_PANICKED MEMORY_DEVICE_SIZE_CHANGE MIGRATION RESET RESUME SHUTDOWN STOP'.split(
    ' ',
  );

const program = process.argv[2] ?? 'qemu-system-x86_64';
const version = /version (\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? '';

/** `  name=<type> - words`, a line each. */
function properties(kind: '-device' | '-object', name: string): string[] | undefined {
  try {
    const text = execFileSync(program, ['-machine', 'none', kind, `${name},help`], { encoding: 'utf8', stdio: 'pipe' });
    return [...text.matchAll(/^ +([\w.-]+)=/gm)].map((match) => match[1] ?? '').toSorted();
  } catch {
    return undefined;
  }
}

const qemu = spawn(program, ['-machine', 'none', '-display', 'none', '-qmp', 'stdio'], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const qmp = await connectQmp(Duplex.from({ readable: qemu.stdout, writable: qemu.stdin }));
const schema = await qmp.execute<SchemaEntry[]>('query-qmp-schema');
const byName = new Map(schema.map((entry) => [`${entry['meta-type']} ${entry.name}`, entry]));
const argumentsOf = (command: string): { name: string; optional: boolean }[] | undefined => {
  const type = byName.get(`command ${command}`)?.['arg-type'];
  if (type === undefined) return undefined;
  const members = byName.get(`object ${type}`)?.members ?? [];
  return members.map((member) => ({ name: member.name, optional: 'default' in member }));
};
const recorded = {
  version,
  commands: Object.fromEntries(commands.map((name) => [name, argumentsOf(name)])),
  events: events.filter((name) => byName.has(`event ${name}`)),
  devices: Object.fromEntries(devices.map((name) => [name, properties('-device', name)])),
  objects: Object.fromEntries(objects.map((name) => [name, properties('-object', name)])),
};
await qmp.execute('quit').catch(() => undefined);
mkdirSync(`test/fixtures/qemu-${version}`, { recursive: true });
writeFileSync(`test/fixtures/qemu-${version}/interface.json`, `${JSON.stringify(recorded, undefined, 1)}\n`);
