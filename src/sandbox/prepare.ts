import { isAbsolute } from 'node:path';
import { assetPath } from '../config/assets.ts';
import { checkAssets } from '../config/check-assets.ts';
import { completeConfig, type DefaultGuest } from '../config/complete.ts';
import { type GuestArch, type HostFacts, readHostFacts } from '../config/host.ts';
import { kernelArch } from '../config/kernel-arch.ts';
import { isUefi } from '../config/uefi.ts';
import { agentBinary } from '../config/package-files.ts';
import { deserializeParams, type Param } from '../config/kernel-params.ts';
import type { HypervisorConfig, VmConfigInput } from '../config/vm-config.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { accelOfForeign, type AccelChoice, decideAccel, type KvmVerdict } from '../hypervisors/accel.ts';
import type { HypervisorModule } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { buildDefaultImage, type BuildOptions } from '../images/build.ts';
import { type DefaultGuestOf, defaultGuestOf } from '../images/default-guest.ts';
import type { GuestImage } from '../images/image.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { findImage } from '../images/store.ts';
import { type Places, places } from '../state/paths.ts';
import { chooseConfinement } from './choose-confinement.ts';
import type { Phase } from './events.ts';
import { tryKvm } from './kvm-trial.ts';
import { givenConfig } from './given-config.ts';
import { requireSameArchitecture, requireUnpackable, rootTypeParams } from './root-image.ts';
import { type Scratch, scratchParams } from './scratch.ts';
import { withSharing } from './sharing.ts';
import type { SplitOptions } from './vm-options.ts';

/** Checked in place of the default guest before that is built, so that a mistake is told at once; never opened. */
const standIn: DefaultGuest = { kernel: agentBinary, initrd: agentBinary, kernelParams: [] };

/** Everything that is decided before a VM has a name and a folder. */
export interface Prepared {
  at: Places;
  host: HostFacts;
  module: HypervisorModule;
  config: HypervisorConfig;
  accel: 'kvm' | 'tcg';
  /** name of the guest image, when it is one of ours or of the store */
  image: string | undefined;
  /** what an image of the store says of its commands */
  imageConfig: RootConfig | undefined;
  scratch: Scratch | undefined;
  confinement: ConfinementLevel;
}

/** Checks the configuration against schema, VMM and host, chooses the accelerator, and sees to it that a guest is there. */
export async function prepare(
  options: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<Prepared> {
  const module = await loadDriver(options.hypervisor);
  const [at, host] = [places(), await readHostFacts()];
  const { input: given, stored, usesHostKernel } = await givenConfig(options.config, at);
  const shared = await withSharing(given, options.devices, module.fields);
  const kernel = assetPath(shared, 'kernel');
  const facts = { fields: module.fields, host, kernelArch: kernel === undefined ? undefined : kernelArch(kernel) };
  const needsGuest = module.bootsGuest && lacksGuest(shared);
  const checked = completeConfig(shared, facts, needsGuest ? standIn : undefined);
  const { arch } = checked;
  requireSameArchitecture(stored, arch);
  const byUefi = [assetPath(shared, 'firmware'), ...checked.pflash].some((file) => file !== undefined && isUefi(file));
  const input = module.bootsElf === true ? await withElfKernel(shared, at, options, report) : shared;
  const root = needsGuest ? assetPath(input, 'image') : undefined;
  const unpacked = module.unpacksImage === true ? assetPath(input, 'image') : undefined;
  if (unpacked !== undefined) await requireUnpackable(unpacked, module.type);
  const { scratch } = options;
  if (scratch !== undefined && root === undefined) throw noPlaceForScratch(module);
  const rootType = root === undefined ? [] : await rootTypeParams(root, input.kernelParams ?? []);
  if (usesHostKernel && arch !== undefined) throw hostKernelIsOther(host, arch);
  const guest = needsGuest ? defaultGuestOf(arch) : undefined;
  const image = guest && (await guestOf(guest, usesHostKernel, at, options, report));
  const layer = scratch === undefined ? [] : scratchParams(scratch, checked.memoryMiB);
  const config = completeConfig(input, facts, image && bootable(image, module, byUefi, [...rootType, ...layer]));
  await checkAssets(config, options.call.signal);
  const confinement = await chooseConfinement(module, options.confinement, options.onEvent);
  const [name, imageConfig] = [stored?.name ?? image?.name, stored?.config];
  const decided = { at, host, module, config, image: name, imageConfig, scratch, confinement };
  if (module.accels.length === 0) return { ...decided, accel: 'tcg' };
  const trial = (): Promise<KvmVerdict> => tryKvm(decided, options.call);
  const choice = choiceFor(module, config.accel);
  const { accel, notice } =
    arch === undefined
      ? await decideAccel(choice, host, config.disableNestingChecks, trial, withoutKvm(module))
      : accelOfForeign(choice, host, arch);
  if (notice !== undefined) options.onEvent({ type: 'notice', message: notice });
  return { ...decided, accel };
}

/** A kernel as a distribution packs it is unpacked for a VMM that wants it so. One with a digest of its own stays as it is. */
async function withElfKernel(
  input: VmConfigInput,
  at: Places,
  { call }: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<VmConfigInput> {
  const { kernel } = input;
  if (kernel === undefined || !isAbsolute(kernel)) return input;
  const { elfKernelFile } = await import('../images/kernel-elf.ts');
  const elf = await elfKernelFile(kernel, at.kernels, call);
  if (elf === kernel) return input;
  report('image', `${kernel} is booted as the ELF kernel that is in it`);
  return { ...input, kernel: elf };
}

/** A user who names neither a kernel nor an initrd gets ours, in front of the user's root image if there is one. */
function lacksGuest({ kernel, initrd, customAssets }: VmConfigInput): boolean {
  return [kernel, initrd, customAssets?.kernel, customAssets?.initrd].every((part) => part === undefined);
}

function hostKernelIsOther(host: HostFacts, arch: GuestArch): VmError {
  return new VmError('INVALID_CONFIG', `the host's kernel is for ${host.arch}, but the guest is to be of ${arch}`, {
    field: 'kernel',
    advice: `Leave \`kernel\` out for the default guest of ${arch}.`,
  });
}

/** Only our own boot initrd lays a writable layer over an image. */
function noPlaceForScratch({ type, bootsGuest }: HypervisorModule): VmError {
  if (!bootsGuest)
    return new VmError(
      'UNSUPPORTED',
      `${type} has no scratch of a limited size: its guest writes to this host's disk`,
      {
        field: 'scratch',
      },
    );
  return new VmError('INVALID_ARGUMENT', 'scratch goes with an image: all that other guests write is in memory', {
    field: 'scratch',
    advice: 'Name an image (`--image`), and no kernel but `host`.',
  });
}

/** The default guest, which is only made when it isn't there; or that with the host's kernel, whose parts are looked at each time. */
async function guestOf(
  { name, agentPath, arch }: DefaultGuestOf,
  usesHostKernel: boolean,
  at: Places,
  options: SplitOptions,
  report: (phase: Phase, message: string) => void,
): Promise<GuestImage> {
  const build: BuildOptions = {
    cacheFolder: at.images,
    agentPath,
    arch,
    onEvent: (event) => options.onEvent({ type: 'image', event }),
    signal: options.call.signal,
  };
  if (usesHostKernel) return (await import('../images/host-guest.ts')).buildHostGuest(build);
  const found = await findImage(at.images, name, agentPath);
  if (found !== undefined) return found;
  report('image', `building the default guest${arch === undefined ? '' : ` of ${arch}`}`);
  return buildDefaultImage(build);
}

/**
 * What of the default guest is booted; the parameters about the user's root image stand behind its own.
 * @param byUefi UEFI starts the kernel: it takes a distribution's file, which is an EFI program as well, and no other
 */
function bootable(
  { kernel: unpacked, bzImage, initrd, manifest }: GuestImage,
  { bzImageOnly }: HypervisorModule,
  byUefi: boolean,
  rootType: readonly Param[],
): DefaultGuest {
  const kernel = bzImageOnly === true || byUefi ? (bzImage ?? unpacked) : unpacked;
  return { kernel, initrd, kernelParams: [...deserializeParams(manifest.commandLine), ...rootType] };
}

/** What a user can do on a host without KVM, when that is all a VMM runs on. */
function withoutKvm({ accels, type }: HypervisorModule): string | undefined {
  return accels.includes('tcg') ? undefined : `Use the hypervisor \`qemu\`: ${type} runs on KVM only`;
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
