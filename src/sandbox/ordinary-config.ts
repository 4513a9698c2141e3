import type { HypervisorConfig } from '../config/vm-config.ts';

/** The configuration of a VM that goes on from a saved one: an ordinary VM, whatever its memory comes from. */
export function ordinaryConfig(config: HypervisorConfig): HypervisorConfig {
  const { memoryPath: _memory, devicesStatePath: _state, ...rest } = config;
  return { ...rest, bootToBeTemplate: false, bootFromTemplate: false };
}
