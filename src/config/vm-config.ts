import type { BlockConfig } from './fields/block.ts';
import type { BootConfig } from './fields/boot.ts';
import type { CpuConfig } from './fields/cpu.ts';
import type { DeviceConfig } from './fields/devices.ts';
import type { MemoryConfig } from './fields/memory.ts';
import type { PolicyConfig } from './fields/policy.ts';
import type { ProgramConfig } from './fields/programs.ts';
import type { SharingConfig } from './fields/sharing.ts';
import type { TemplateConfig } from './fields/template.ts';

/**
 * The complete configuration of a VM, as drivers see it: virtcontainers' HypervisorConfig with units in the names, plus
 * `cpuModel` and `accel`. Plain data: JSON and back gives the same. Made by completeConfig.
 */
export interface HypervisorConfig
  extends
    CpuConfig,
    MemoryConfig,
    BootConfig,
    ProgramConfig,
    BlockConfig,
    SharingConfig,
    DeviceConfig,
    TemplateConfig,
    PolicyConfig {}

/** The name of a config field. */
export type ConfigField = keyof HypervisorConfig;

/** What users write: any of the fields. An absent (or undefined) field gets its default. */
export type VmConfigInput = { readonly [K in ConfigField]?: HypervisorConfig[K] | undefined };
