/** Names that a shell keeps for itself: it can't set them (bash), or unset them (dash: OPTIND). */
const kept: ReadonlySet<string> = new Set(['BASHOPTS', 'BASH_VERSINFO', 'EUID', 'OPTIND', 'PPID', 'SHELLOPTS', 'UID']);

/** Our environment, as far as a shell can take it over and leave it out again. */
export function shellEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter(([name]) => isShellName(name));
  return Object.fromEntries(entries) as Record<string, string>;
}

/** Whether every shell can have a variable of this name (POSIX, 3.231), and lose it again. */
export function isShellName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !kept.has(name);
}
