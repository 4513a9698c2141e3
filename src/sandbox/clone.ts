import { callScope } from '../config/call-options.ts';
import { readHostFacts } from '../config/host.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import { packageVersion } from '../config/package-version.ts';
import { VmError } from '../errors.ts';
import { agree, type MadeUp } from '../factory/agreement.ts';
import { checkFiles, type TemplateManifest } from '../factory/template-manifest.ts';
import { TemplateStore } from '../factory/template-store.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { attach } from './attach-device.ts';
import { bringDown, bringUp, type VmToBe } from './bring-up.ts';
import { chooseConfinement } from './choose-confinement.ts';
import type { Phase } from './events.ts';
import { givenConfig } from './given-config.ts';
import type { OpenedVm } from './opened-vm.ts';
import { detachVm } from './ownership.ts';
import { resizeVm } from './resize.ts';
import { Telemetry } from './telemetry.ts';
import { madeUpName } from './vm-name.ts';
import type { SplitOptions } from './vm-options.ts';

/** What a clone is to be, and what it gets once it runs. */
export interface CloneToBe {
  vm: VmToBe;
  made: MadeUp;
}

/**
 * Makes a VM of a template: its guest answers at once, with entropy, time, name and machine id of its own before any command is admitted.
 * Nothing is left behind when it fails.
 */
export async function cloneVm(template: string, split: SplitOptions): Promise<OpenedVm> {
  const { detached, onEvent } = split;
  const began = performance.now();
  const report = (phase: Phase, message: string): void =>
    onEvent({ type: 'phase', phase, message, elapsedMs: Math.round(performance.now() - began) });
  const scope = callScope('clone of the template', split.call);
  const call = { signal: scope.signal };
  try {
    const name = split.name ?? madeUpName();
    const telemetry = await Telemetry.open(split.logger);
    return await telemetry.span('clone', { vm: name, template }, async () => {
      const { vm, made } = await cloneToBe(template, { ...split, name });
      const { held, link } = await bringUp(vm, report, call);
      try {
        if (Object.keys(made).length > 0) await resizeVm(held, link.agent, { ...made, ...call });
        // The template had none: what a clone is to have is plugged.
        for (const device of split.devices) {
          const { copied, mountAt } = await attach(held, link.agent, device, call);
          const message = `${vm.module.type} shares no folders: ${mountAt} is a copy`;
          if (copied !== undefined) onEvent({ type: 'notice', message });
        }
        if (detached) await detachVm(held);
        report('ready', `${name} is ready`);
        return { held, link, owned: !detached, detached, telemetry };
      } catch (error) {
        await bringDown({ held, link });
        throw error;
      }
    });
  } finally {
    scope.release();
  }
}

/**
 * Decides everything about a clone, and makes sure that its template is whole.
 * @throws {VmError} NOT_FOUND, INVALID_CONFIG naming what differs, FILE_NOT_FOUND, FILE_INVALID, PERMISSION
 */
export async function cloneToBe(template: string, split: SplitOptions): Promise<CloneToBe> {
  const store = new TemplateStore();
  const [manifest, host] = await Promise.all([store.read(template), readHostFacts()]);
  const { hypervisor, config, accel, image, imageConfig } = manifest;
  const { input: given, stored } = await givenConfig(split.config, store.places);
  // The default guest is no file, and differs all the same from an image that is one.
  const isOther = stored !== undefined && stored.file === undefined && config.image !== undefined;
  const input = isOther ? { ...given, image: stored.name } : given;
  const made = agree(manifest, { hypervisor: split.hypervisorGiven ? split.hypervisor : undefined, config: input });
  const module = await loadDriver(parseHypervisorType(hypervisor));
  const restoreFrom = store.dataFolder(template, manifest);
  const [confinement, verdict] = await Promise.all([
    chooseConfinement(module, split.confinement, split.onEvent),
    module.probe(host, config.hypervisorPath, config.arch),
    checkFiles(manifest, restoreFrom),
  ]);
  requireSameVersions(manifest, verdict.version);
  const { name = madeUpName(), networkNamespace, cpuLimit, startTimeoutMs } = split;
  const decided = {
    name,
    networkNamespace,
    confinement,
    cpuLimit,
    startTimeoutMs,
    restoreFrom,
    memoryShared: manifest.shared,
    agentFeatures: manifest.agentFeatures && new Set(manifest.agentFeatures),
  };
  return { vm: { at: store.places, host, module, config, accel, image, imageConfig, ...decided }, made };
}

function requireSameVersions({ name, version, vmmVersion, hypervisor }: TemplateManifest, found?: string): void {
  const ours = packageVersion();
  const problem =
    version !== ours
      ? `polyvisor ${version}, and this is ${ours}`
      : vmmVersion !== found && found !== undefined
        ? `${hypervisor} ${vmmVersion ?? 'of another version'}, and this host has ${found}`
        : undefined;
  if (problem === undefined) return;
  throw new VmError('FILE_INVALID', `the template ${name} was made with ${problem}`, {
    name,
    hypervisor,
    advice: 'Remove the template, and make it again.',
  });
}
