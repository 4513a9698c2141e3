/** A Debian package as the lists describe it. */
export interface DebianPackage {
  name: string;
  version: string;
  /** names that it depends on, versions and alternatives left out */
  depends: string[];
  sha256: string;
  /** bytes */
  size: number;
}

/** Where packages come from. */
export interface PackageSource {
  /** its lists may be older than what there is to download */
  readonly mayBeOld: boolean;
  /**
   * Looks a package up, in the version that is to be had.
   * @returns undefined when the lists don't have it
   * @throws {VmError} HOST_MISSING, ABORTED, IMAGE_BUILD_FAILED
   */
  find(name: string, signal?: AbortSignal): Promise<DebianPackage | undefined>;
  /**
   * Downloads a package into a folder, which must be empty. The caller checks its digest.
   * @param onPercent told how far the download is, 0 to 100
   * @throws {VmError} HOST_MISSING, ABORTED, TIMEOUT; IMAGE_BUILD_FAILED
   */
  download(
    wanted: DebianPackage,
    folder: string,
    options: { signal?: AbortSignal | undefined; onPercent?: (percent: number) => void },
  ): Promise<void>;
}

/** The names in a `Depends` field: of alternatives the first. */
export function dependencies(text: string): string[] {
  return text.split(',').flatMap((item) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(item)?.[1] ?? []);
}
