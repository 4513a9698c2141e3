import type { CallOptions } from '../config/call-options.ts';
import { type HypervisorType, parseHypervisorType } from '../config/hypervisor-type.ts';
import { validateName } from '../config/names.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { type ConfinementLevel, parseConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { type AttachedDevice, deviceOf, type DeviceSpec } from './device-spec.ts';
import type { VmEventListener } from './events.ts';
import { type Scratch, scratchOf, type ScratchSpec } from './scratch.ts';
import type { Logger } from './telemetry.ts';

/** What `Vm.create` takes: the configuration, and how the VM is held. */
export interface VmOptions extends VmConfigInput, CallOptions {
  /** qemu (default), firecracker, clh (or cloud-hypervisor), acrn, mock */
  hypervisor?: string | undefined;
  /** unique name; one is made up when absent */
  name?: string | undefined;
  /** the VM outlives this process; default false: it ends with it */
  detached?: boolean | undefined;
  /** path of the network namespace in which the VMM is started */
  networkNamespace?: string | undefined;
  /**
   * how the VMM is confined: `strict`, by every measure or not at all (the default as root); `best`, by what this user can
   * have on this host (the default otherwise); `off`
   */
  confinement?: ConfinementLevel | undefined;
  /** CPUs' worth of time that the VMM may use, such as 0.5; no limit by default */
  cpuLimit?: number | undefined;
  /** milliseconds until the guest must have answered; default 60,000 with KVM, 180,000 with TCG */
  startTimeoutMs?: number | undefined;
  onEvent?: VmEventListener | undefined;
  /** name of a template that it is cloned from; what is not said otherwise is the template's */
  template?: string | undefined;
  /** what it starts with, beside what the configuration says; none by default */
  devices?: readonly DeviceSpec[] | undefined;
  /** the layer above the root image that takes what the guest writes; default: in memory, half of it at most */
  scratch?: ScratchSpec | undefined;
  /** boot it; with false it is made only, for `vm.start()` to boot; default true */
  start?: boolean | undefined;
  /** hears what is done with this VM; `console` is one */
  logger?: Logger | undefined;
}

/** VmOptions, taken apart and checked one by one; the configuration is checked by its schema. */
export interface SplitOptions {
  hypervisor: HypervisorType;
  name: string | undefined;
  detached: boolean;
  networkNamespace: string | undefined;
  confinement: ConfinementLevel | undefined;
  cpuLimit: number | undefined;
  startTimeoutMs: number | undefined;
  onEvent: VmEventListener;
  devices: readonly AttachedDevice[];
  scratch: Scratch | undefined;
  start: boolean;
  template: string | undefined;
  /** the type was named, not the default */
  hypervisorGiven: boolean;
  logger: Logger | undefined;
  call: CallOptions;
  config: Record<string, unknown>;
}

/** @throws {VmError} UNKNOWN_HYPERVISOR, INVALID_NAME, INVALID_ARGUMENT */
export function splitOptions(options: VmOptions): SplitOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw wrong('options', 'an object', options);
  const {
    hypervisor,
    name,
    detached,
    networkNamespace,
    confinement,
    cpuLimit,
    startTimeoutMs,
    onEvent,
    devices,
    scratch,
    start,
    template,
    logger,
    signal,
    timeoutMs,
    ...config
  } = options;
  if (detached !== undefined && typeof detached !== 'boolean') throw wrong('detached', 'true or false', detached);
  if (networkNamespace !== undefined && !(typeof networkNamespace === 'string' && networkNamespace.startsWith('/'))) {
    throw wrong('networkNamespace', 'an absolute path', networkNamespace);
  }
  if (
    startTimeoutMs !== undefined &&
    !(typeof startTimeoutMs === 'number' && startTimeoutMs > 0 && startTimeoutMs < 2 ** 31)
  ) {
    throw wrong('startTimeoutMs', 'milliseconds above 0', startTimeoutMs);
  }
  if (cpuLimit !== undefined && !(typeof cpuLimit === 'number' && cpuLimit >= 0.01 && cpuLimit <= 65_536))
    throw wrong('cpuLimit', 'a number of CPUs from 0.01 on', cpuLimit);
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.addEventListener !== 'function')
    throw wrong('signal', 'an AbortSignal', signal);
  if (onEvent !== undefined && typeof onEvent !== 'function') throw wrong('onEvent', 'a function', onEvent);
  if (devices !== undefined && !Array.isArray(devices)) throw wrong('devices', 'an array', devices);
  if (start !== undefined && typeof start !== 'boolean') throw wrong('start', 'true or false', start);
  if (template !== undefined && start === false)
    throw new VmError('INVALID_ARGUMENT', 'start can not be false with a template: a clone runs', { field: 'start' });
  if (template !== undefined && scratch !== undefined)
    throw new VmError('INVALID_ARGUMENT', "a clone's scratch is that of its template", { field: 'scratch' });
  if (logger !== undefined && !isLogger(logger))
    throw new VmError('INVALID_ARGUMENT', 'logger must have the functions debug, info, warn and error', {
      field: 'logger',
    });
  return {
    hypervisor: parseHypervisorType(hypervisor === undefined ? 'qemu' : hypervisor),
    name: name === undefined ? undefined : validateName(name),
    detached: detached ?? false,
    networkNamespace,
    confinement: confinement === undefined ? undefined : parseConfinementLevel(confinement),
    cpuLimit,
    startTimeoutMs,
    onEvent: onEvent ?? ((): void => undefined),
    devices: (devices ?? []).map(deviceOf),
    scratch: scratch === undefined ? undefined : scratchOf(scratch),
    start: start ?? true,
    template: template === undefined ? undefined : validateName(template),
    hypervisorGiven: hypervisor !== undefined,
    logger,
    call: { signal, timeoutMs },
    config,
  };
}

function wrong(field: string, wanted: string, given: unknown): VmError {
  return new VmError('INVALID_ARGUMENT', `${field} must be ${wanted}, not ${JSON.stringify(given)}`, { field });
}

function isLogger(value: unknown): value is Logger {
  const it = value as Partial<Record<keyof Logger, unknown>> | null;
  return it !== null && (['debug', 'info', 'warn', 'error'] as const).every((level) => typeof it[level] === 'function');
}
