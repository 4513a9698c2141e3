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
}
