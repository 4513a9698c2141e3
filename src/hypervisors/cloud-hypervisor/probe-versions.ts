import { VmError } from '../../errors.ts';

/** What a version of Cloud Hypervisor brought, by the first release that has it (its release notes). */
export const since: Readonly<
  Record<'landlock' | 'imageType' | 'resumingRestore' | 'memoryOnDemand', readonly [major: number, minor: number]>
> = {
  landlock: [42, 0],
  /** the format of a disk can be said, instead of being found out from what a guest may have written */
  imageType: [51, 0],
  /** `vm.restore` can let the guest go on */
  resumingRestore: [52, 0],
  /** a restored guest's memory can be read page by page, when it is first used */
  memoryOnDemand: [52, 0],
};

/** Whether a version, such as `53.0-246-gae44c29`, has something; an unknown version has nothing. */
export function has(version: string | undefined, feature: keyof typeof since): boolean {
  if (version === undefined) return false;
  const [major, minor] = since[feature];
  const [ownMajor, ownMinor] = numbersOf(version);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

/**
 * Whether a guest may let go of a vCPU. From 48 commits behind 53.0 on (3cd8abcd8) Cloud Hypervisor ignores a guest that does, since its
 * own ACPI code has taken the request back by then; the newest that was tried is 246 commits behind.
 */
export function ejectsVcpus(version: string | undefined): boolean {
  const [, commits] = /^53\.0-(\d+)-g/.exec(version ?? '') ?? [];
  return commits === undefined || Number(commits) < 48;
}

/** The release that brought something, for messages. */
export function releaseWith(feature: keyof typeof since): string {
  return since[feature].join('.');
}

/**
 * A snapshot can't be restored by an older version than the one that made it.
 * @throws {VmError} HYPERVISOR_TOO_OLD
 */
export function requireNotOlder(version: string | undefined, than: string, path: string): void {
  if (version === undefined) return;
  const [major, minor] = numbersOf(version);
  const [thanMajor, thanMinor] = numbersOf(than);
  if (major > thanMajor || (major === thanMajor && minor >= thanMinor)) return;
  throw new VmError(
    'HYPERVISOR_TOO_OLD',
    `the snapshot was made by Cloud Hypervisor ${than}, and this one is ${version}`,
    { path, advice: `Use Cloud Hypervisor ${thanMajor}.${thanMinor} or newer.` },
  );
}

function numbersOf(version: string): [major: number, minor: number] {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return [major, minor];
}
