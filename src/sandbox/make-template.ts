import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { packageVersion } from '../config/package-version.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { type MemoryPlace, parseMemoryPlace } from '../factory/memory-folder.ts';
import { markFolder } from '../factory/file-mark.ts';
import { hashedBytes, markAssets, type TemplateManifest } from '../factory/template-manifest.ts';
import { type DraftTemplate, TemplateStore } from '../factory/template-store.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { requireSupport } from '../hypervisors/capabilities.ts';
import { linkAgent } from './agent-link.ts';
import { bringUp, tearDown } from './bring-up.ts';
import type { Phase } from './events.ts';
import { givenConfig } from './given-config.ts';
import type { HeldVm } from './held-vm.ts';
import { ordinaryConfig } from './ordinary-config.ts';
import { pauseVm } from './pause-vm.ts';
import { type Prepared, prepare } from './prepare.ts';
import { refuseScratchDisk } from './scratch.ts';
import { splitOptions, type SplitOptions, type VmOptions } from './vm-options.ts';
import { warmUp } from './warm-up.ts';

/** What a template is to be: a VM's configuration, and where its memory is kept. */
export interface TemplateOptions extends Omit<VmOptions, 'detached' | 'start' | 'template' | 'networkNamespace'> {
  /** unique among templates; default `default` */
  name?: string | undefined;
  /** `tmpfs`, in memory; `disk`; or `auto` (default): tmpfs where that has room */
  memory?: MemoryPlace | undefined;
  /** is run in the guest before it is saved: what every clone is to have done already */
  setup?: ((guest: GuestAgent, call: CallOptions) => Promise<void>) | undefined;
}

/** Name of a template whose maker gave none. */
export const defaultTemplate = 'default';

/**
 * Milliseconds after its agent's first answer until a guest has done what it does once: its kernel has measured its clock anew
 * (tsc_refine_calibration_work in Linux), the drivers that nobody waits for are loaded. One that is saved before does it in each clone, in
 * front of the first command.
 */
const settlingMs = 1500;
/** Milliseconds after a session until the guest has put away what that left. */
const quietMs = 300;

/** What stands for a template's files while its configuration is checked. */
const someFiles = { bootToBeTemplate: true, memoryPath: '/template/memory', devicesStatePath: '/template/state' };

/**
 * Boots a guest up to where its agent answers, and saves it, for clones to go on from. Nothing is left behind when it fails.
 * @throws {VmError} NAME_IN_USE, UNSUPPORTED, IO (ENOSPC when there is no room for its memory), and what `Vm.create` throws
 */
export async function makeTemplate(options: TemplateOptions): Promise<TemplateManifest> {
  const { memory = 'auto', setup, name = defaultTemplate, ...rest } = options;
  validateName(name);
  parseMemoryPlace(memory);
  if (setup !== undefined && typeof setup !== 'function')
    throw new VmError('INVALID_ARGUMENT', 'setup must be a function', { field: 'setup' });
  const split = splitOptions(rest);
  if (split.devices.length > 0)
    throw new VmError('INVALID_ARGUMENT', 'a template has no devices of its own', {
      field: 'devices',
      advice: 'Give them to its clones.',
    });
  refuseScratchDisk(split.scratch, 'template');
  const scope = callScope(`making of the template ${name}`, split.call);
  const call = { signal: scope.signal };
  const began = performance.now();
  const report = (phase: Phase, message: string): void =>
    split.onEvent({ type: 'phase', phase, message, elapsedMs: Math.round(performance.now() - began) });
  try {
    const prepared = await prepareTemplate({ ...split, call }, report);
    const { memoryMiB } = prepared.config;
    const draft = await new TemplateStore(prepared.at).begin(name, { memory, memoryMiB });
    try {
      const saved = await bootAndSave(prepared, split, draft, { report, call, setup });
      const { module, accel, image, imageConfig, config } = prepared;
      const vmmVersion = (await module.probe(prepared.host, config.hypervisorPath, config.arch)).version;
      const manifest = await draft.publish({
        createdAt: new Date().toISOString(),
        version: packageVersion(),
        hypervisor: module.type,
        vmmVersion,
        accel,
        given: (await givenConfig(split.config, prepared.at)).input,
        config: ordinaryConfig(config),
        image,
        imageConfig,
        ...saved,
        shared: module.capabilities.sharedMemory === true,
        files: await markFolder(draft.data.path, hashedBytes),
        assets: await markAssets(config),
      });
      report('ready', `the template ${name} is ready`);
      return manifest;
    } finally {
      await draft.discard();
    }
  } finally {
    scope.release();
  }
}

/** Of a driver that leaves a template's memory in place it is known where that will be only later. */
async function prepareTemplate(
  split: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<Prepared> {
  const { loadDriver } = await import('../hypervisors/registry.ts');
  const module = await loadDriver(split.hypervisor);
  for (const operation of ['pause', 'save', 'restore'] as const)
    requireSupport(module.type, operation, module.capabilities.operations[operation]);
  const config = keepsMemory(module) ? { ...split.config, ...someFiles } : split.config;
  return prepare({ ...split, config }, report);
}

function keepsMemory(module: Prepared['module']): boolean {
  return module.fields.uses.bootToBeTemplate === true;
}

/**
 * What every clone is spared: a kernel's first times, drivers that were put off, that the file with the machine id has to be made, and the first half of
 * its first command. By a session of its own, which ends with an answer: nothing that a client has said is on its way to the agent then.
 * @returns what the agent can do
 */
async function settle({ context, hypervisor }: HeldVm, call: CallOptions): Promise<readonly string[]> {
  const { agent, close } = await linkAgent(context.stateFolder, hypervisor.channels(), call);
  try {
    const { features } = agent;
    if (features.has('online')) await agent.online(call);
    await warmUp(agent, call);
    if (features.has('machine-id')) await agent.sync({ machineId: randomBytes(16).toString('hex') }, call);
    if (features.has('prepare')) await agent.prepare(call);
    await agent.ping(call);
    return [...features];
  } finally {
    await close();
  }
}

interface Work {
  report: (phase: Phase, message: string) => void;
  call: { signal: AbortSignal };
  setup: TemplateOptions['setup'];
}

async function bootAndSave(
  prepared: Prepared,
  { cpuLimit, startTimeoutMs }: SplitOptions,
  { id, data }: DraftTemplate,
  { report, call, setup }: Work,
): Promise<Pick<TemplateManifest, 'agentFeatures'>> {
  const files = { memoryPath: path.join(data.path, 'memory'), devicesStatePath: path.join(data.path, 'state') };
  const config: HypervisorConfig = keepsMemory(prepared.module) ? { ...prepared.config, ...files } : prepared.config;
  const toBe = { ...prepared, config, name: `template-${id}`, cpuLimit, startTimeoutMs };
  const { held, link } = await bringUp(toBe, report, call);
  const answered = performance.now();
  try {
    try {
      await setup?.(link.agent, call);
    } finally {
      await link.close();
    }
    const agentFeatures = await settle(held, call);
    // The agent waits for the next client from here on. The mock's guest is the host, which has settled.
    if (held.hypervisor.capabilities().isolation === true)
      await delay(Math.max(answered + settlingMs - performance.now(), quietMs), undefined, call);
    await pauseVm(held, call);
    await held.hypervisor.save(data.path, call);
    return { agentFeatures };
  } catch (error) {
    await rm(data.path, { recursive: true, force: true });
    throw error;
  } finally {
    await tearDown(held);
  }
}
