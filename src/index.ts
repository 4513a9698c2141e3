export { errorCodes, VmError, type ErrorCode, type ErrorFacts } from './errors.ts';
export { Vm } from './sandbox/vm.ts';
export { stopVm, type VmStopOptions } from './sandbox/stop-vm.ts';
export type { VmOptions } from './sandbox/vm-options.ts';
export type { Phase, VmEvent, VmEventListener } from './sandbox/events.ts';
export { inspectVm, removeVm, type VmInspection, type VmSummary } from './sandbox/inspect.ts';
export { planVm, type PlannedVm } from './sandbox/plan.ts';
export { doctor, type DoctorReport, type HypervisorReport } from './sandbox/doctor.ts';
export { prune } from './sandbox/prune.ts';
export type {
  Exec,
  ExecChunk,
  ExecError,
  ExecExit,
  ExecOptions,
  ExecResult,
  GuestAgent,
  GuestInfo,
} from './guest/agent.ts';
export type { CallOptions } from './config/call-options.ts';
export type { HypervisorConfig, VmConfigInput } from './config/vm-config.ts';
export type { HypervisorType } from './config/hypervisor-type.ts';
export { addKernelParam, deserializeParams, serializeParams, type Param } from './config/kernel-params.ts';
export { MIN_HYPERVISOR_MEMORY_MIB, VSOCK_LOGS_PORT, VSOCK_PORT } from './config/defaults.ts';
export { addCustomAsset, assetPath, isCustomAsset } from './config/assets.ts';
export { getHostMemorySizeKb, runningOnVmm } from './config/host.ts';
export { operations, type Capabilities, type Operation, type Support } from './hypervisors/capabilities.ts';
export type { Device, DeviceKind } from './hypervisors/device.ts';
export type { LaunchPlan } from './hypervisors/launch-plan.ts';
export { buildDefaultImage } from './images/build.ts';
export { listImages } from './images/store.ts';
export type { BuildEvent, GuestImage, ImageManifest } from './images/image.ts';
