/** A file that must exist before the VMM is started. */
export interface PlannedFile {
  path: string;
  content: string;
  /** permission bits */
  mode: number;
}

/** What a VMM is told once it runs: a request of its API. */
export interface PlannedRequest {
  method: string;
  target: string;
  body?: unknown;
}

/** A file, folder or device outside its own folder that a VMM opens itself: a confined one sees these and no others. */
export interface PlannedPath {
  path: string;
  access: 'read' | 'write';
  /** it need not be there; false by default */
  optional?: boolean | undefined;
}

/** A file that a VMM inherits open. */
export interface OpenDescriptor {
  /** one of `freeDescriptors` */
  number: number;
  path: string;
}

/**
 * Everything a VMM is told, as plain data: the result of a pure function of the configuration,
 * so that it can be shown and compared without starting anything.
 */
export interface LaunchPlan {
  binary: string;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  files: readonly PlannedFile[];
  requests: readonly PlannedRequest[];
  /** what it opens, beside its own folder, its program and that program's libraries */
  paths: readonly PlannedPath[];
  /** files that it has open when it starts, for reading and writing: opened before it is confined, by whoever starts it */
  descriptors?: readonly OpenDescriptor[] | undefined;
  /** the folder in which it starts: relative paths in its requests begin there; `/` when absent */
  workingFolder?: string | undefined;
  /** path of the network namespace in which it is started; ours when absent */
  networkNamespace?: string | undefined;
  /**
   * Bytes of the largest file that it makes or grows, disks and memory files (memfd included) among them; its logs are bounded
   * by that, or by 64 MiB when that is more. `unlimited` for a VMM whose writing is not ours to bound.
   */
  largestFileBytes?: number | 'unlimited' | undefined;
  /** the guest's memory, where it is not what the configuration says */
  memoryMiB?: number | undefined;
  /** it comes with a jailer of its own, which is used instead of our confinement */
  confinesItself?: boolean | undefined;
  /** SELinux label of its process */
  selinuxLabel?: string | undefined;
  /** it locks memory, or lets devices write into it */
  lockMemory?: boolean | undefined;
}
