import { DEFAULT_VCPUS } from '../defaults.ts';
import { choice, type FieldSpecs, flag, integer, text } from '../field-info.ts';

/** What runs the vCPUs; `auto` uses KVM where it really works. */
export type Accel = 'auto' | 'kvm' | 'tcg';

/** Fields about vCPUs and the accelerator. */
export interface CpuConfig {
  /** vCPUs at start. */
  readonly vcpus: number;
  /** Most vCPUs the VM can be resized to. */
  readonly maxVcpus: number;
  /** CPU model, without features. */
  readonly cpuModel?: string | undefined;
  /** CPU features to add or take away: `+svm`, `-avx`, `pmu=off`. */
  readonly cpuFeatures: readonly string[];
  readonly accel: Accel;
  readonly realtime: boolean;
  readonly disableNestingChecks: boolean;
}

export const cpuFields: FieldSpecs<CpuConfig> = {
  vcpus: {
    kataName: 'NumVCPUs',
    tomlKey: 'default_vcpus',
    type: integer(1),
    unit: 'vCPUs',
    default: DEFAULT_VCPUS,
    meaning: 'vCPUs the VM starts with.',
  },
  maxVcpus: {
    kataName: 'DefaultMaxVCPUs',
    tomlKey: 'default_maxvcpus',
    type: integer(1),
    unit: 'vCPUs',
    defaultNote: "the host's CPUs, but not above what the architecture and the VMM take",
    meaning: 'Most vCPUs the VM can be resized to. Set it to have more vCPUs than the host has CPUs.',
  },
  cpuModel: {
    type: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a model name such as EPYC (features go into cpuFeatures)'),
    defaultNote: "the VMM's choice",
    meaning: 'CPU model the guest sees. Features are given apart, in `cpuFeatures`.',
  },
  cpuFeatures: {
    kataName: 'CPUFeatures',
    tomlKey: 'cpu_features',
    type: {
      kind: 'list',
      of: text(
        /^[+-]?[A-Za-z0-9][A-Za-z0-9._-]{0,63}(=[A-Za-z0-9._-]{1,64})?$/,
        'a feature such as +svm, -avx or pmu=off',
      ),
    },
    default: [],
    meaning: 'CPU features to add (`+svm`), to take away (`-avx`) or to set (`pmu=off`).',
  },
  accel: {
    type: choice('auto', 'kvm', 'tcg'),
    default: 'auto',
    meaning: 'What runs guest code: KVM, emulation (tcg), or KVM only where it really works (auto).',
  },
  realtime: {
    kataName: 'Realtime',
    type: flag,
    default: false,
    meaning:
      'vCPU threads run with real-time priority where the host allows, and guest memory is locked unless `mlock` is false.',
  },
  disableNestingChecks: {
    kataName: 'DisableNestingChecks',
    tomlKey: 'disable_nesting_checks',
    type: flag,
    default: false,
    meaning: 'Trust /dev/kvm on a host that is itself a VM, without a trial boot.',
  },
};
