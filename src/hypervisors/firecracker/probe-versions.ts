/** What a version of Firecracker brought, by the first release that has it (its CHANGELOG). */
export const since: Readonly<Record<'pciHotplug' | 'bzImage', readonly [major: number, minor: number]>> = {
  /** devices come and go on a running guest's PCI bus: a developer preview */
  pciHotplug: [1, 16],
  /** compressed x86 kernels (bzImage) beside ELF images */
  bzImage: [1, 17],
};

/** Something that a release gets wrong, and what the driver does about it. */
export interface KnownDefect {
  id: 'vsock-lost-on-resume';
  releases: readonly string[];
  /** a sentence without its full stop */
  problem: string;
  advice: string;
}

/** Defects of releases that decide how they are driven. A release that is not named has none that is known. */
export const knownDefects: readonly KnownDefect[] = [
  {
    id: 'vsock-lost-on-resume',
    // Its changelog, #6100: a resumed guest holds back what comes in by vsock until it acknowledges a reset that it was never told of.
    releases: ['1.16.0', '1.16.1'],
    problem:
      'a resumed guest gets no vsock packets, so its vsock is reset when it is resumed: open connections to the agent end',
    advice: 'Connect again after a resume, or use 1.15 or a version after 1.16.1.',
  },
];

/** Whether a version, such as `1.17.0-dev`, has something; an unknown version has nothing, `newest` has all. */
export function has(version: string | undefined, feature: keyof typeof since): boolean {
  if (version === undefined) return false;
  if (version === 'newest') return true;
  const [major, minor] = since[feature];
  const [ownMajor = 0, ownMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

/** The release that brought something, for messages. */
export function releaseWith(feature: keyof typeof since): string {
  return since[feature].join('.');
}

/** What is known to be wrong with a version. */
export function defectsOf(version: string | undefined): readonly KnownDefect[] {
  return version === undefined ? [] : knownDefects.filter(({ releases }) => releases.includes(version));
}

/** Whether the first version is newer than the second: such a VMM's snapshots can't be loaded by an older one. */
export function isNewer(version: string, than: string): boolean {
  const [one, other] = [version, than].map((text) => text.split('.').map((part) => Number.parseInt(part, 10)));
  for (let at = 0; at < 3; at++) {
    const difference = (one?.[at] ?? 0) - (other?.[at] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}
