import { checkAssets } from '../config/check-assets.ts';
import { completeConfig } from '../config/complete.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import { agentBinary } from '../config/package-files.ts';
import { deserializeParams } from '../config/kernel-params.ts';
import { parseConfig } from '../config/parse.ts';
import type { HypervisorConfig, VmConfigInput } from '../config/vm-config.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { type AccelChoice, decideAccel, type KvmVerdict } from '../hypervisors/accel.ts';
import type { HypervisorModule } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { buildDefaultImage } from '../images/build.ts';
import { defaultImageName, type GuestImage } from '../images/image.ts';
import { findImage } from '../images/store.ts';
import { type Places, places } from '../state/paths.ts';
import { chooseConfinement } from './choose-confinement.ts';
import type { Phase } from './events.ts';
import { tryKvm } from './kvm-trial.ts';
import type { SplitOptions } from './vm-options.ts';

/** Everything that is decided before a VM has a name and a folder. */
export interface Prepared {
  at: Places;
  host: HostFacts;
  module: HypervisorModule;
  config: HypervisorConfig;
  accel: 'kvm' | 'tcg';
  /** name of the guest image, when it is one of ours */
  image: string | undefined;
  confinement: ConfinementLevel;
}

/** Checks the configuration against schema, VMM and host, chooses the accelerator, and sees to it that a guest is there. */
export async function prepare(
  options: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<Prepared> {
  const module = await loadDriver(options.hypervisor);
  const input = parseConfig(options.config);
  const [at, host] = [places(), await readHostFacts()];
  // Checked before the default guest is built, so that a mistake is told at once; the stand-ins are never opened.
  const needsGuest = module.bootsGuest && lacksGuest(input);
  completeConfig(needsGuest ? { ...input, kernel: agentBinary, initrd: agentBinary } : input, {
    fields: module.fields,
    host,
  });
  const image = needsGuest ? await defaultGuest(at, options, report) : undefined;
  const guest: VmConfigInput =
    image === undefined
      ? input
      : {
          ...input,
          kernel: image.kernel,
          initrd: image.initrd,
          kernelParams: [...deserializeParams(image.manifest.commandLine), ...(input.kernelParams ?? [])],
        };
  const config = completeConfig(guest, { fields: module.fields, host });
  await checkAssets(config, options.call.signal);
  const confinement = await chooseConfinement(module, options.confinement, options.onEvent);
  const facts = { at, host, module, config, image: image?.name, confinement };
  if (module.accels.length === 0) return { ...facts, accel: 'tcg' };
  const trial = (): Promise<KvmVerdict> => tryKvm(facts, options.call);
  const { accel, notice } = await decideAccel(
    choiceFor(module, config.accel),
    host,
    config.disableNestingChecks,
    trial,
  );
  if (notice !== undefined) options.onEvent({ type: 'notice', message: notice });
  return { ...facts, accel };
}

/** A user who names no part of a guest gets ours. */
function lacksGuest({ kernel, initrd, image, customAssets }: VmConfigInput): boolean {
  return [kernel, initrd, image, customAssets?.kernel, customAssets?.initrd, customAssets?.image].every(
    (part) => part === undefined,
  );
}

async function defaultGuest(
  at: Places,
  options: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<GuestImage> {
  const found = await findImage(at.images, defaultImageName, agentBinary);
  if (found !== undefined) return found;
  report('image', 'building the default guest');
  return buildDefaultImage({
    cacheFolder: at.images,
    agentPath: agentBinary,
    onEvent: (event) => options.onEvent({ type: 'image', event }),
    ...(options.call.signal === undefined ? {} : { signal: options.call.signal }),
  });
}

/** A VMM that knows nothing but KVM has no second choice to fall back to. */
function choiceFor({ type, accels }: HypervisorModule, choice: AccelChoice): AccelChoice {
  if (accels.includes('tcg')) return choice;
  if (choice !== 'tcg') return 'kvm';
  throw new VmError('INVALID_CONFIG', `${type} runs on KVM only, not on tcg`, {
    field: 'accel',
    hypervisor: type,
    advice: 'Leave `accel` out, or use the hypervisor `qemu`.',
  });
}
