// A Cloud Hypervisor without a virtual machine: it plays the API (rules of state included) with the real agent as its guest.
import { appendFileSync, existsSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ApiDescription } from '../vmm-api/description.ts';
import { FakeGuest, nameVcpuThreads } from '../vmm-api/guest.ts';
import { type Answer, serveApi } from '../vmm-api/server.ts';

type Body = Record<string, unknown>;
/** As much of a VM's configuration as the fake looks at. */
interface Config extends Body {
  cpus: { boot_vcpus: number; max_vcpus: number };
  memory: {
    size: number;
    hotplug_size?: number;
    hotplug_method: string;
    shared: boolean;
    zones?: { size: number; file?: string; shared: boolean }[];
  };
  payload: { kernel: string; initramfs?: string };
  serial: { file: string };
  vsock: { socket: string };
}

const began = performance.now();
const done: Answer = { status: 204 };
/** The outermost message first, as Cloud Hypervisor answers. */
const refusal = (words: string, status = 500): Answer => ({ status, body: ['Error from API', words] });
const env = process.env;
const version = env['FAKE_VERSION'] ?? '';
const argv = process.argv.slice(2);
const optionPath = (name: string): string => (argv[argv.indexOf(name) + 1] ?? '').replace(/^path=/, '');
const lists = {
  'add-disk': 'disks',
  'add-pmem': 'pmem',
  'add-net': 'net',
  'add-fs': 'fs',
  'add-device': 'devices',
} as const;

let config: Config | undefined;
let state: 'Created' | 'Running' | 'Paused' = 'Created';
let guest: FakeGuest | undefined;
/** beside what the VM was booted with, in bytes */
let plugged = 0;
let vcpus = 0;
const devices = new Set<string>();
let nextSlot = 8;

function event(source: string, name: string, properties: Record<string, string> | null = null): void {
  const ms = performance.now() - began;
  const timestamp = { secs: Math.floor(ms / 1000), nanos: Math.floor((ms % 1000) * 1e6) };
  const text = JSON.stringify({ timestamp, source, event: name, properties }, undefined, 2);
  appendFileSync(optionPath('--event-monitor'), `${text}\n\n`);
}

function requireFile(file: string): void {
  if (!existsSync(file)) throw new Error(`No such file or directory (os error 2): ${file}`);
}

async function startGuest(of: Config, announce: boolean): Promise<void> {
  guest = await FakeGuest.start(of.vsock.socket, (line) => appendFileSync(of.serial.file, line), announce);
  guest.onEnd(() => {
    event('vmm', 'shutdown');
    process.exit(0);
  });
  vcpus = of.cpus.boot_vcpus;
  nameThreads();
  for (const list of Object.values(lists))
    for (const { id } of (of[list] as { id: string }[] | undefined) ?? []) devices.add(id);
}

/** Threads that run no vCPU have the program's name. */
function nameThreads(): void {
  nameVcpuThreads(config?.cpus.max_vcpus ?? 1, (vcpu) => (vcpu < vcpus ? `vcpu${vcpu}` : 'worker'));
}

async function boot(): Promise<Answer> {
  if (config === undefined) return refusal('VM is not created', 404);
  if (guest !== undefined) return refusal('VM is already created');
  requireFile(config.payload.kernel);
  if (config.payload.initramfs !== undefined) requireFile(config.payload.initramfs);
  event('vm', 'booting');
  await startGuest(config, true);
  state = 'Running';
  event('vm', 'booted');
  return done;
}

function turn(to: 'Running' | 'Paused'): Answer {
  if (guest === undefined) return refusal('VM is not running');
  if (state === to) return refusal(`Invalid VM state transition: ${state} -> ${to}`);
  state = to;
  if (to === 'Paused') guest.pause();
  else guest.resume();
  event('vm', to === 'Paused' ? 'paused' : 'resumed');
  return done;
}

function add(list: string, body: Body): Answer {
  if (config === undefined || guest === undefined) return refusal('VM is not created', 404);
  const id = String(body['id']);
  if (devices.has(id)) return refusal(`Identifier ${id} is not unique`, 409);
  for (const name of ['path', 'file', 'socket', 'vhost_socket'])
    if (typeof body[name] === 'string') requireFile(body[name]);
  if (list === 'fs' && !config.memory.shared)
    return refusal('Using vhost-user requires using shared memory or huge pages', 400);
  devices.add(id);
  // Disks and cards by vhost-user have no such event.
  const isSilent = body['vhost_user'] === true;
  if (!isSilent) setImmediate(() => event('virtio-device', 'activated', { id }));
  const bdf = `0000:00:${(nextSlot++).toString(16).padStart(2, '0')}.0`;
  return { status: 200, body: { id, bdf } };
}

function remove(id: string): Answer {
  if (!devices.delete(id)) return refusal(`Missing identifier ${id}`, 404);
  setImmediate(() => event('vm', 'device-removed', { id, bdf: '0000:00:08.0' }));
  return done;
}

function resize(body: Body): Answer {
  if (config === undefined || guest === undefined) return refusal('VM is not running');
  const { desired_vcpus: wanted, desired_ram: bytes } = body as { desired_vcpus?: number; desired_ram?: number };
  const { cpus, memory } = config;
  if (wanted !== undefined) {
    if (wanted > cpus.max_vcpus) return refusal('Requested vCPUs exceed maximum');
    vcpus = wanted;
    nameThreads();
  }
  if (bytes !== undefined) {
    if ((memory.zones ?? []).length > 0)
      return refusal('Not allowed to resize guest memory when backed with user defined memory zones');
    if (bytes < memory.size || bytes > memory.size + (memory.hotplug_size ?? 0)) return refusal('Invalid memory size');
    if (bytes - memory.size < plugged && memory.hotplug_method === 'Acpi') return done;
    plugged = bytes - memory.size;
  }
  return done;
}

/** `file://` and a path, which is not decoded. */
function pathOf(url: unknown): string {
  return String(url).replace(/^file:\/\//, '');
}

function bootBytes(): number {
  const memory = config?.memory;
  return memory?.zones?.reduce((sum, zone) => sum + zone.size, 0) ?? memory?.size ?? 0;
}

/** What a shared file holds is nowhere else. */
function isInSharedFile(): boolean {
  return config?.memory.zones?.every(({ file, shared }) => file !== undefined && shared) === true;
}

/** MemoryManagerSnapshotData, as far as anyone reads it. */
function savedState(): string {
  const mapping = { slot: 0, gpa: 0, size: bootBytes(), zone_id: 'mem0', virtio_mem: false, file_offset: 0 };
  const later = {
    ...mapping,
    slot: 1,
    gpa: 2 ** 32,
    size: plugged,
    virtio_mem: config?.memory.hotplug_method === 'VirtioMem',
  };
  const mappings = plugged > 0 || later.virtio_mem ? [mapping, later] : [mapping];
  const data = isInSharedFile()
    ? []
    : mappings.filter(({ size }) => size > 0).map(({ gpa, size }) => ({ gpa, length: size }));
  const state = JSON.stringify({ memory_ranges: { data }, guest_ram_mappings: mappings, plugged });
  return JSON.stringify({ snapshots: { 'memory-manager': { snapshots: {}, snapshot_data: { state } } } });
}

/** @returns how many ranges of memory are to be read */
function readState(text: string): number {
  const { snapshots } = JSON.parse(text) as {
    snapshots: { 'memory-manager': { snapshot_data: { state: string } } };
  };
  const memory = JSON.parse(snapshots['memory-manager'].snapshot_data.state) as {
    memory_ranges: { data: unknown[] };
    plugged: number;
  };
  plugged = memory.plugged;
  return memory.memory_ranges.data.length;
}

function snapshot(body: Body): Answer {
  if (state !== 'Paused') return refusal('Trying to snapshot while VM is running');
  const folder = pathOf(body['destination_url']);
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config), { flag: 'wx' });
  writeFileSync(path.join(folder, 'state.json'), savedState(), { flag: 'wx' });
  if (isInSharedFile()) return done;
  writeFileSync(path.join(folder, 'memory-ranges'), '', { flag: 'wx' });
  truncateSync(path.join(folder, 'memory-ranges'), bootBytes() + plugged);
  return done;
}

async function restore(body: Body): Promise<Answer> {
  if (config !== undefined) return refusal('VM is already created');
  const folder = pathOf(body['source_url']);
  const saved = JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as Config;
  const ranges = readState(readFileSync(path.join(folder, 'state.json'), 'utf8'));
  for (const zone of saved.memory.zones ?? []) if (zone.file !== undefined) requireFile(zone.file);
  if (ranges > 0) requireFile(path.join(folder, 'memory-ranges'));
  // Kept open, as whoever serves its faults keeps it.
  if (body['memory_restore_mode'] === 'OnDemand') openSync('/dev/userfaultfd', 'r+');
  config = saved;
  await startGuest(saved, false);
  state = body['resume'] === true ? 'Running' : 'Paused';
  if (state === 'Paused') guest?.pause();
  event('vm', 'restored');
  return done;
}

function coredump(body: Body): Answer {
  if (state !== 'Paused') return refusal('Trying to coredump while VM is running');
  writeFileSync(pathOf(body['destination_url']), '\x7fELF, as far as anyone looks', { flag: 'wx' });
  return done;
}

function info(): Answer {
  if (config === undefined) return refusal('VM is not created', 404);
  return { status: 200, body: { state, config, memory_actual_size: bootBytes() + plugged, device_tree: {} } };
}

function counters(): Answer {
  const counted = { read_bytes: 512, write_bytes: 0, read_ops: 1, write_ops: 0 };
  return { status: 200, body: Object.fromEntries([...devices].map((id) => [id, counted])) };
}

function create(body: Config): Answer {
  if (config !== undefined) return refusal('VM is already created');
  config = body;
  return done;
}

/** Answered before it happens. */
function end(): Answer {
  setImmediate(() => {
    guest?.end();
    process.exit(0);
  });
  return done;
}

const actions: Readonly<Record<string, (body: Body) => Answer | Promise<Answer>>> = {
  'GET vmm.ping': () => ({
    status: 200,
    body: { version: `v${version}`, pid: process.pid, features: ['kvm', 'guest_debug'] },
  }),
  'GET vm.info': info,
  'GET vm.counters': counters,
  'PUT vm.create': (body) => create(body as Config),
  'PUT vm.boot': boot,
  'PUT vm.pause': () => turn('Paused'),
  'PUT vm.resume': () => turn('Running'),
  'PUT vm.resize': resize,
  'PUT vm.remove-device': (body) => remove(String(body['id'])),
  'PUT vm.snapshot': snapshot,
  'PUT vm.restore': restore,
  'PUT vm.coredump': coredump,
  // A guest without a program that listens to it.
  'PUT vm.power-button': () => done,
  'PUT vmm.shutdown': end,
};

function handle(method: string, target: string, body: unknown): Answer | Promise<Answer> {
  const action = target.replace('/api/v1/', '');
  const added = lists[action.replace('vm.', '') as keyof typeof lists];
  if (method === 'PUT' && added !== undefined) return add(added, body as Body);
  return actions[`${method} ${action}`]?.(body as Body) ?? refusal(`the fake does not know ${method} ${target}`, 404);
}

event('vmm', 'starting');
// The guest's own folder goes there.
process.chdir(path.dirname(optionPath('--api-socket')));
const description = ApiDescription.read(env['POLYVISOR_SPECS'] ?? '', 'cloud-hypervisor.yaml');
const socketPath = optionPath('--api-socket');
serveApi({ socketPath, description, fault: env['FAKE_FAULT'], refusal, handle });
