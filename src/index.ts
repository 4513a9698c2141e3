export { errorCodes, VmError, type ErrorCode, type ErrorFacts } from './errors.ts';
export { Vm, type VmRemoveOptions } from './sandbox/vm.ts';
export { VmGuest } from './sandbox/vm-guest.ts';
export type { BroughtBack } from './sandbox/bring-back.ts';
export { stopVm, type VmStopOptions } from './sandbox/stop-vm.ts';
export type { VmOptions } from './sandbox/vm-options.ts';
export {
  type CloneOptions,
  listTemplates,
  inspectTemplate,
  removeTemplate,
  Template,
  type TemplateInfo,
  type TemplateSummary,
} from './sandbox/template.ts';
export type { FactoryOptions, FactoryVmOptions, VmFactory } from './sandbox/vm-factory.ts';
export type { FactoryKind, FactoryVmStatus } from './factory/factory.ts';
export { type CacheServerOptions, openCacheServer, type ServedCache } from './sandbox/serve-cache.ts';
export type { TemplateOptions } from './sandbox/make-template.ts';
export type { MemoryPlace } from './factory/memory-folder.ts';
export type { VmConnectOptions } from './sandbox/open-vm.ts';
export type { VmStartOptions } from './sandbox/start-vm.ts';
export type { PortForward, PortForwardOptions } from './sandbox/port-forward.ts';
export type { PublishedPort } from './sandbox/ports.ts';
export { followEvents, type FollowedVms, type FollowOptions } from './sandbox/follow-events.ts';
export { killVm } from './sandbox/kill-vm.ts';
export { type EndedVm, waitForVm } from './sandbox/wait-vm.ts';
export type { LifeEvent, LifeEventFacts, LifeEventType } from './sandbox/life-events.ts';
export type { VmStatistics, WatchStatisticsOptions } from './sandbox/statistics.ts';
export type { LogFacts, Logger } from './sandbox/telemetry.ts';
export type { Phase, VmEvent, VmEventListener } from './sandbox/events.ts';
export { inspectVm, removeVm, type VmInspection, type VmSummary } from './sandbox/inspect.ts';
export type { AttachResult, DetachOptions } from './sandbox/attach-device.ts';
export type { CommitOptions } from './sandbox/commit.ts';
export type { ScratchSpec } from './sandbox/scratch.ts';
export type { AttachedDevice, DeviceSpec, DiskSpec, FolderSpec, WithoutId } from './sandbox/device-spec.ts';
export type { VmResizeOptions, VmResizeResult } from './sandbox/resize.ts';
export {
  inspectSnapshot,
  listSnapshots,
  removeSnapshot,
  type SnapshotInfo,
  type SnapshotSummary,
} from './sandbox/snapshot-store.ts';
export type { SnapshotManifest } from './sandbox/snapshot-manifest.ts';
export type { FileMark } from './factory/file-mark.ts';
export type { ForkOptions } from './sandbox/fork.ts';
export type { RestoreOptions, SnapshotOptions } from './sandbox/snapshot.ts';
export { planVm, type PlannedVm } from './sandbox/plan.ts';
export { doctor, type DoctorReport, type HypervisorReport } from './sandbox/doctor.ts';
export { prune, type PruneSelection } from './sandbox/prune.ts';
export { findUnused, removeUnused, type Unused } from './sandbox/unused.ts';
export { attachConsole } from './sandbox/console.ts';
export type { ShellOptions } from './sandbox/shell.ts';
export { logPath, vmLog, type LogOptions, type LogSource } from './sandbox/logs.ts';
export {
  buildPackageImage,
  importImage,
  listRootImages,
  pruneRootImages,
  pullImage,
  removeRootImage,
  type RootImageInUse,
} from './sandbox/root-images.ts';
export { saveImage, type SaveImageOptions } from './sandbox/save-image.ts';
export type { SaveFormat } from './images/roots/save.ts';
export { listImageUse, removeImageOf, unusedImages, type ImageInUse } from './sandbox/images.ts';
export type { CopyOptions, CopyOutOptions } from './sandbox/copy/copy.ts';
export type { CopyLimits } from './sandbox/copy/archive-rules.ts';
export type { FolderConflict } from './sandbox/copy/merge.ts';
export type {
  CopiedFiles,
  Exec,
  ExecChunk,
  ExecError,
  ExecExit,
  ExecOptions,
  ExecResult,
  GetFilesOptions,
  GuestAgent,
  GuestArchive,
  GuestInfo,
  GuestListener,
  GuestResources,
  PutFilesOptions,
  SyncOptions,
} from './guest/agent.ts';
export type { CallOptions } from './config/call-options.ts';
export type { ConfigField, HypervisorConfig, VmConfigInput } from './config/vm-config.ts';
export type { BlockConfig, BlockDeviceDriver } from './config/fields/block.ts';
export type { BootConfig } from './config/fields/boot.ts';
export type { Accel, CpuConfig } from './config/fields/cpu.ts';
export type { DeviceConfig } from './config/fields/devices.ts';
export type { MemoryConfig } from './config/fields/memory.ts';
export type { PolicyConfig } from './config/fields/policy.ts';
export type { ProgramConfig } from './config/fields/programs.ts';
export type { SharedFs, SharingConfig, VirtioFsCache } from './config/fields/sharing.ts';
export type { TemplateConfig } from './config/fields/template.ts';
export type { HypervisorType } from './config/hypervisor-type.ts';
export { addKernelParam, deserializeParams, serializeParams, type Param } from './config/kernel-params.ts';
export { MIN_HYPERVISOR_MEMORY_MIB, VSOCK_LOGS_PORT, VSOCK_PORT } from './config/defaults.ts';
export { addCustomAsset, assetPath, isCustomAsset, type AssetConfig } from './config/assets.ts';
export type { AssetType, CustomAsset, CustomAssets } from './config/asset-type.ts';
export type { FieldUse } from './config/field-use.ts';
export type { Origin, Origins } from './config/origin.ts';
export { loadKataConfig, type KataConfig, type KataLoadOptions, type KataOptions } from './kata/load.ts';
export { applyAnnotations, type AnnotatedOptions, type AnnotationOptions } from './kata/annotations.ts';
export { reportLine, type KataOutcome, type KataReportEntry, type KataWarning } from './kata/report.ts';
export type { KataFactory } from './kata/factory.ts';
export { loadSettings, type Settings, type SettingsOptions } from './settings/load.ts';
export { getHostMemorySizeKb, runningOnVmm, type Arch, type GuestArch, type HostFacts } from './config/host.ts';
export type { KvmVerdict } from './hypervisors/accel.ts';
export type { ConsoleLocation, HostVerdict, PluggedDevice, VmmExit } from './hypervisors/hypervisor.ts';
export type { VmmEvent } from './hypervisors/vmm-event.ts';
export type { DiskStatistics, NetworkStatistics, VmmStatistics } from './hypervisors/vmm-statistics.ts';
export type { VmEnding, VmStatus } from './state/record.ts';
export { operations, type Capabilities, type Operation, type Support } from './hypervisors/capabilities.ts';
export type {
  BlockDevice,
  CpuDevice,
  Device,
  DeviceKind,
  FsDevice,
  HybridVsockDevice,
  MemoryDevice,
  NamedDevice,
  NetDevice,
  RateLimit,
  SerialPortDevice,
  VfioDevice,
  VhostUserDevice,
  VsockDevice,
} from './hypervisors/device.ts';
export type {
  LaunchPlan,
  OpenDescriptor,
  PlannedFile,
  PlannedPath,
  PlannedRequest,
} from './hypervisors/launch-plan.ts';
export { buildDefaultImage, type BuildOptions } from './images/build.ts';
export { listImages } from './images/store.ts';
export type { MirrorOptions } from './images/mirror/mirror.ts';
export type { Credentials } from './images/registry/credentials.ts';
export type { PullOptions } from './images/registry/pull.ts';
export type { PackageBuildOptions } from './images/roots/build-root.ts';
export type { BackingFile } from './images/roots/disk.ts';
export type { ImportEvent, ImportOptions } from './images/roots/import.ts';
export type { RootConfig, RootImage, RootManifest, RootType } from './images/roots/root-image.ts';
export type { ConfinementPlan, CgroupPlan, MissingMeasure, Measure } from './confinement/confinement-plan.ts';
export type { JailMount, JailNode, JailPlan } from './confinement/jail-plan.ts';
export type { Controller } from './confinement/cgroup-host.ts';
export type { ConfinementLevel } from './confinement/level.ts';
export type { BuildEvent, FileRecord, GuestImage, ImageManifest, PackageRecord } from './images/image.ts';
