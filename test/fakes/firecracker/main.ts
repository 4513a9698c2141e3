// A Firecracker without a virtual machine: it plays the API (rules of state included) with the real agent as its guest.
import { appendFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { ApiDescription } from '../vmm-api/description.ts';
import { FakeGuest, nameVcpuThreads } from '../vmm-api/guest.ts';
import { type Answer, serveApi } from '../vmm-api/server.ts';

type Body = Record<string, unknown>;

const done: Answer = { status: 204 };
const refusal = (words: string): Answer => ({ status: 400, body: { fault_message: words } });
const env = process.env;
const version = env['FAKE_VERSION'] ?? '';
const argv = process.argv.slice(2);
const option = (name: string): string | undefined => (argv.includes(name) ? argv[argv.indexOf(name) + 1] : undefined);
const pci = argv.includes('--enable-pci');
const plugs = pci && Number(version.split('.')[1]) >= 16;

let state: 'Not started' | 'Running' | 'Paused' = 'Not started';
let booted = false;
/** what was put, by its target */
const made = new Map<string, Body>();
let plugged = 0;
let guest: FakeGuest | undefined;
let consoleFile: string | undefined;

const tooLate = refusal('The requested operation is not supported after starting the microVM.');
const tooEarly = refusal('The requested operation is not supported until the microVM is started.');

function text(body: unknown, name: string): string {
  return String((body as Body)[name]);
}

function requireFile(path: string): void {
  if (!existsSync(path)) throw new Error(`Unable to open ${path}: No such file or directory (os error 2)`);
}

async function startGuest(announce: boolean): Promise<void> {
  const vsock = made.get('/vsock');
  if (vsock === undefined) throw new Error('the fake needs a vsock');
  const print = (line: string): void => {
    if (consoleFile !== undefined) appendFileSync(consoleFile, line);
  };
  guest = await FakeGuest.start(text(vsock, 'uds_path'), print, announce);
  guest.onEnd(() => process.exit(0));
  const { vcpu_count: vcpus = 1 } = made.get('/machine-config') ?? {};
  nameVcpuThreads(Number(vcpus), (vcpu) => `fc_vcpu ${vcpu}`);
}

async function boot(): Promise<Answer> {
  if (state !== 'Not started') return tooLate;
  const source = made.get('/boot-source');
  if (source === undefined) return refusal('Cannot start microvm without kernel configuration.');
  requireFile(text(source, 'kernel_image_path'));
  await startGuest(true);
  state = 'Running';
  return done;
}

function putDevice(target: string, body: unknown): Answer {
  if (state !== 'Not started' && !plugs) return tooLate;
  if (made.has(target) && state !== 'Not started') return refusal(`${target} exists`);
  const { path_on_host: path } = body as { path_on_host?: string };
  if (path !== undefined) requireFile(path);
  if (/[^A-Za-z0-9_/-]/.test(target))
    return refusal('API Resource IDs can only contain alphanumeric characters and underscores.');
  booted = true;
  made.set(target, body as Body);
  return done;
}

function patchDrive(target: string, body: unknown): Answer {
  if (state === 'Not started') return tooEarly;
  if (!made.has(target)) return refusal('Unable to patch the block device: Invalid block device ID');
  requireFile(text(body, 'path_on_host'));
  made.set(target, { ...made.get(target), ...(body as Body) });
  return done;
}

function turn(wanted: string): Answer {
  if (state === 'Not started') return tooEarly;
  state = wanted === 'Paused' ? 'Paused' : 'Running';
  if (state === 'Paused') guest?.pause();
  else guest?.resume();
  return done;
}

function memoryBytes(): number {
  return (Number(made.get('/machine-config')?.['mem_size_mib'] ?? 0) + plugged) * 2 ** 20;
}

function saveTo(body: unknown): Answer {
  if (state !== 'Paused') return refusal('Create snapshot error: the microVM is not paused');
  writeFileSync(text(body, 'snapshot_path'), JSON.stringify({ version, made: [...made], plugged }));
  writeFileSync(text(body, 'mem_file_path'), '');
  truncateSync(text(body, 'mem_file_path'), memoryBytes());
  return done;
}

async function load(body: unknown): Promise<Answer> {
  if (booted) return refusal('Loading a microVM snapshot not allowed after configuring boot-specific resources.');
  const saved = JSON.parse(readFileSync(text(body, 'snapshot_path'), 'utf8')) as {
    made: [string, Body][];
    plugged: number;
  };
  for (const [target, one] of saved.made) made.set(target, one);
  plugged = saved.plugged;
  const file = text((body as { mem_backend: Body }).mem_backend, 'backend_path');
  if (statSync(file).size !== memoryBytes()) return refusal('Load snapshot error: the memory file has another size');
  for (const [target, one] of made)
    if (target.startsWith('/drives/') && 'path_on_host' in one) requireFile(text(one, 'path_on_host'));
  await startGuest(false);
  const goesOn = (body as Body)['resume_vm'] === true;
  if (!goesOn) guest?.pause();
  state = goesOn ? 'Running' : 'Paused';
  return done;
}

function memory(method: string, body: unknown): Answer {
  const total = made.get('/hotplug/memory');
  if (method === 'PUT') return putDevice('/hotplug/memory', body);
  if (total === undefined) return refusal('Memory hotplug device not found');
  if (method === 'PATCH') plugged = Number((body as Body)['requested_size_mib']);
  const figures = { total_size_mib: total['total_size_mib'], block_size_mib: 2, slot_size_mib: 128 };
  return method === 'PATCH'
    ? done
    : { status: 200, body: { ...figures, plugged_size_mib: plugged, requested_size_mib: plugged } };
}

function act(kind: string): Answer | Promise<Answer> {
  if (kind === 'InstanceStart') return boot();
  if (state === 'Not started') return tooEarly;
  if (kind === 'FlushMetrics') {
    const disks = [...made.keys()].filter((target) => target.startsWith('/drives/')).map((target) => target.slice(8));
    const counts = { read_bytes: 512, write_bytes: 0, read_count: 1, write_count: 0 };
    const line = JSON.stringify(Object.fromEntries(disks.map((name) => [`block_${name}`, counts])));
    appendFileSync(text(made.get('/metrics'), 'metrics_path'), `${line}\n`);
  }
  return done;
}

function handle(method: string, target: string, body: unknown): Answer | Promise<Answer> {
  const [, group = ''] = target.split('/');
  const key = `${method} ${target}`;
  if (key === 'GET /')
    return { status: 200, body: { id: option('--id'), state, vmm_version: version, app_name: 'Firecracker' } };
  if (key === 'PATCH /vm') return turn(text(body, 'state'));
  if (key === 'PUT /actions') return act(text(body, 'action_type'));
  if (key === 'PUT /snapshot/create') return saveTo(body);
  if (key === 'PUT /snapshot/load') return load(body);
  if (key === 'GET /balloon') return { status: 200, body: made.get('/balloon') };
  if (target === '/hotplug/memory') return memory(method, body);
  if (method === 'PATCH' && group === 'drives') return patchDrive(target, body);
  if (method === 'DELETE') {
    if (!plugs) return refusal('Device hotplug is not supported with MMIO');
    return made.delete(target) ? done : refusal(`${target} does not exist`);
  }
  if (method !== 'PUT') return refusal(`the fake does not know ${key}`);
  if (['drives', 'pmem', 'network-interfaces'].includes(group)) return putDevice(target, body);
  if (state !== 'Not started') return tooLate;
  if (!['logger', 'metrics', 'serial'].includes(group)) booted = true;
  if (group === 'serial') consoleFile = text(body, 'serial_out_path');
  made.set(target, body as Body);
  return done;
}

const description = ApiDescription.read(env['POLYVISOR_SPECS'] ?? '', 'firecracker.yaml');
const socketPath = option('--api-sock') ?? '';
// Unplugging is a developer preview: in docs/device-hotplug.md, and not in the description yet.
const undescribed = /^DELETE \/(drives|pmem|network-interfaces)\/\w+$/;
serveApi({ socketPath, description, undescribed, fault: env['FAKE_FAULT'], refusal, handle });
