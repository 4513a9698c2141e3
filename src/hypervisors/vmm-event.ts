/** What a VMM says that happened to its VM. */
export type VmmEvent = {
  /** ISO 8601, UTC */
  at: string;
} & (
  | { event: 'shutdown'; /** the VMM's own word, such as `guest-shutdown` */ reason: string }
  | { event: 'reset'; reason: string }
  | { event: 'paused' | 'resumed' }
  | { event: 'guest-panicked'; /** what the VMM does about it */ action: string }
  | { event: 'device-deleted'; /** absent for a device without one */ id?: string | undefined }
  | { event: 'unplug-refused'; id?: string | undefined }
  | { event: 'memory-size-changed'; /** of the device that changed */ sizeBytes: number }
  | { event: 'io-error'; id: string; operation: string; action: string; reason: string }
);
