import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { configFieldNames, configFields } from '../../../src/config/config-fields.ts';

const page = readFileSync('docs/virtcontainers.md', 'utf8');
const rows = page.split('\n').flatMap((line) => {
  const [, there, here] = /^\| `([^`]+)` \| (.+) \|$/.exec(line) ?? [];
  return there === undefined || here === undefined ? [] : [{ there, here }];
});

/** The names in hypervisor.go; `()` tells a method from a constant of the same name. */
const names = `
  HypervisorType operation deviceType memoryDevice Param HypervisorConfig vcpuThreadIDs hypervisor
  addDevice removeDevice FirecrackerHypervisor QemuHypervisor AcrnHypervisor ClhHypervisor MockHypervisor procMemInfo procCPUInfo
  defaultVCPUs defaultMemSzMiB defaultBridges defaultBlockDriver defaultSocketName defaultSocketDeviceID defaultSocketChannelName
  defaultSocketID vSockPort vSockLogsPort MinHypervisorMemory defaultMaxQemuVCPUs commonNvdimmKernelRootParams
  commonNvdimmNoDAXKernelRootParams commonVirtioblkKernelRootParams imgDev fsDev netDev blockDev serialPortDev vSockPCIDev vfioDev
  vhostuserDev cpuDev memoryDev hybridVirtioVsockDev
  slot sizeMB addr probe Key Value vcpus
  NumVCPUs DefaultMaxVCPUs MemorySize DefaultBridges Msize9p MemSlots MemOffset VirtioFSCacheSize KernelParams HypervisorParams KernelPath
  ImagePath InitrdPath FirmwarePath MachineAccelerators CPUFeatures HypervisorPath HypervisorCtlPath JailerPath BlockDeviceDriver
  HypervisorMachineType MemoryPath DevicesStatePath EntropySource SharedFS VirtioFSDaemon VirtioFSCache VirtioFSExtraArgs
  FileBackedMemRootDir customAssets BlockDeviceCacheSet BlockDeviceCacheDirect BlockDeviceCacheNoflush DisableBlockDeviceUse
  EnableIOThreads Debug MemPrealloc HugePages VirtioMem Realtime Mlock DisableNestingChecks UseVSock DisableImageNvdimm
  HotplugVFIOOnRootBus PCIeRootPort BootToBeTemplate BootFromTemplate DisableVhostNet EnableVhostUserStore VhostUserStorePath
  GuestHookPath VMid SELinuxProcessLabel
  newHypervisor appendParam SerializeParams DeserializeParams getHostMemorySizeKb RunningOnVMM getHypervisorPid generateVMSocket
  Set String checkTemplateConfig valid AddKernelParam addCustomAsset assetPath isCustomAsset KernelAssetPath CustomKernelAsset
  ImageAssetPath CustomImageAsset InitrdAssetPath CustomInitrdAsset HypervisorAssetPath HypervisorCtlAssetPath JailerAssetPath
  CustomHypervisorAsset FirmwareAssetPath CustomFirmwareAsset
  createSandbox startSandbox stopSandbox pauseSandbox saveSandbox resumeSandbox addDevice() hotplugAddDevice hotplugRemoveDevice
  resizeMemory resizeVCPUs getSandboxConsole disconnect capabilities hypervisorConfig getThreadIDs cleanup getPids fromGrpc toGrpc check
  save load generateSocket`
  .trim()
  .split(/\s+/);

it('has each name once', () => {
  expect(rows.map(({ there }) => there).toSorted()).toEqual(names.toSorted());
});

it.each(rows.filter(({ here }) => here.includes('`src/')))('$there is what it says', ({ here }) => {
  const places = [...here.matchAll(/`(\w+)` in `(src\/[^`]+)`/g)];
  expect(places.length).toBe(here.split('`src/').length - 1);
  for (const [, name = '', file = ''] of places) {
    expect(readFileSync(file, 'utf8')).toMatch(
      new RegExp(`\\b(function|const|type|interface) ${name}\\b|\\b${name}\\??[:(]`),
    );
  }
});

it('each field of HypervisorConfig is the one that the registry has for it', () => {
  const section = page.slice(page.indexOf('## Fields of HypervisorConfig'), page.indexOf('## Functions'));
  const fields = [...section.matchAll(/^\| `(\w+)` \| `(\w+)` \|$/gm)];
  expect(fields.length).toBeGreaterThan(50);
  for (const [, there, here] of fields) {
    const name = configFieldNames.find((it) => configFields[it].kataName === there);
    expect(here, there).toBe(name);
  }
});

it('what has no place here has a reason', () => {
  const without = rows.filter(({ here }) => here.startsWith('None'));
  expect(without.map(({ there, here }) => [there, /^None(:|,) .{10,}/.test(here)])).toEqual(
    without.map(({ there }) => [there, true]),
  );
});
