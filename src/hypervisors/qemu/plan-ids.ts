// Ids of what is plugged into a running QEMU: the same when a saved VM gets it back at its start.

/** @param place the vCPU's number among the machine's places for them */
export function cpuId(place: number): string {
  return `cpu-${place}`;
}

/** Of a memory module. */
export function moduleId(slot: number): string {
  return `dimm${slot}`;
}

/** Of what holds a module's memory on the host. */
export function backendId(slot: number): string {
  return `dimm${slot}-memory`;
}
