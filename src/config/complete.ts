import { VmError } from '../errors.ts';
import { assetFields, assetTypes } from './asset-type.ts';
import { assetPath } from './assets.ts';
import { configFieldNames, configFields } from './config-fields.ts';
import { DEFAULT_MSIZE_9P_BYTES, DEFAULT_VHOST_USER_STORE_PATH, MAX_VCPUS } from './defaults.ts';
import type { FieldUse } from './field-use.ts';
import type { Arch, GuestArch, HostFacts } from './host.ts';
import type { Param } from './kernel-params.ts';
import { machineArch } from './machine-arch.ts';
import { checkRules } from './rules.ts';
import type { ConfigField, HypervisorConfig, VmConfigInput } from './vm-config.ts';

/** What completion needs besides the user's config. */
export interface CompletionFacts {
  /** What the VMM does with the fields. */
  readonly fields: FieldUse;
  readonly host: HostFacts;
  /** Architecture of the kernel that the input names, where its file tells. */
  readonly kernelArch?: GuestArch | undefined;
}

/** The guest that is booted for who names none. */
export interface DefaultGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** before those of the input */
  readonly kernelParams: readonly Param[];
}

/**
 * Fills in the defaults, the VMM's before the general ones, and checks the rules across fields. Pure. `arch` is there only where it is not
 * the host's.
 * The kernel and one of image and initrd must be there, unless there is a default guest. Its initrd goes in front of an image, which it
 * mounts: only then does a complete config have both.
 * @throws {VmError} INVALID_CONFIG when a field is set that the VMM has no use for, or a rule is broken
 */
export function completeConfig(input: VmConfigInput, facts: CompletionFacts, guest?: DefaultGuest): HypervisorConfig {
  refuseUnused(input, facts.fields);
  if (guest === undefined) return completed(input, facts);
  const { kernel, initrd } = guest;
  const booted = { ...input, kernel, kernelParams: [...guest.kernelParams, ...(input.kernelParams ?? [])] };
  if (assetPath(input, 'image') === undefined) return completed({ ...booted, initrd }, facts);
  return { ...completed(booted, facts), initrd };
}

/**
 * The architecture that a guest is asked to have: by its name, by the machine type, or by the kernel.
 * @returns undefined where nothing says so: then it is the host's
 */
export function askedArch(input: VmConfigInput, kernelArch: GuestArch | undefined): GuestArch | undefined {
  return input.arch ?? machineArch(input.machineType) ?? kernelArch;
}

function completed(input: VmConfigInput, facts: CompletionFacts): HypervisorConfig {
  const { fields, host, kernelArch } = facts;
  const asked = askedArch(input, kernelArch);
  const arch: Arch = asked ?? host.arch;
  const mostVcpus = Math.min(MAX_VCPUS[arch], fields.maxVcpus ?? Number.POSITIVE_INFINITY);
  const defaults = { ...fields.defaults, ...fields.archDefaults?.[arch] };
  const other = asked === host.arch ? undefined : asked;
  const config = fill({ ...input, arch: other }, defaults, Math.min(host.cpus, mostVcpus));
  const emulates = fields.uses.arch === true;
  checkRules({ input, config, host, hypervisor: fields.hypervisor, mostVcpus, arch, kernelArch, emulates });
  return config;
}

function refuseUnused(input: VmConfigInput, fields: FieldUse): void {
  for (const name of configFieldNames) {
    if (input[name] !== undefined) refuse(name, name, fields);
  }
  for (const type of assetTypes) {
    if (input.customAssets?.[type] !== undefined) refuse(assetFields[type], `customAssets.${type}`, fields);
  }
}

function refuse(name: ConfigField, shown: string, { hypervisor, unused }: FieldUse): void {
  const reason = unused[name];
  if (reason === undefined) return;
  throw new VmError('INVALID_CONFIG', `${hypervisor} has no use for ${shown}: ${reason}`, {
    field: shown,
    hypervisor,
    advice: `Leave ${shown} out, or use another hypervisor.`,
  });
}

function fill(input: VmConfigInput, vmm: Partial<HypervisorConfig>, maxVcpus: number): HypervisorConfig {
  const filled: Partial<Record<ConfigField, unknown>> = {};
  // A VMM's own initrd is for who names no root.
  const own = assetPath(input, 'image') === undefined ? vmm : { ...vmm, initrd: undefined };
  for (const name of configFieldNames) {
    const value = input[name] ?? own[name] ?? configFields[name].default;
    if (value !== undefined) filled[name] = value;
  }
  // A VMM's own default for the maximum still can't be more than the host or the VMM has.
  filled.maxVcpus = input.maxVcpus ?? Math.max(Math.min(vmm.maxVcpus ?? maxVcpus, maxVcpus), vmm.vcpus ?? 1);
  const kernel = assetPath(input, 'kernel') ?? vmm.kernel;
  if (kernel !== undefined) filled.kernel ??= kernel;
  if (filled.sharedFs === 'virtio-fs') filled.virtioFsCache ??= 'auto';
  else filled.msize9pBytes ??= DEFAULT_MSIZE_9P_BYTES;
  if (filled.enableVhostUserStore === true) filled.vhostUserStorePath ??= DEFAULT_VHOST_USER_STORE_PATH;
  // Every field without a general default is optional or filled above; that kernel is there is the first rule.
  return filled as unknown as HypervisorConfig;
}
