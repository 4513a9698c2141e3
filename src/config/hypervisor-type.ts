import { VmError } from '../errors.ts';

/** Hypervisor ids as Kata Containers spells them. */
export type HypervisorType = 'qemu' | 'firecracker' | 'acrn' | 'clh' | 'mock';

/** Every hypervisor id, in the order in which they are shown. */
export const hypervisorTypes: readonly HypervisorType[] = ['qemu', 'firecracker', 'clh', 'acrn', 'mock'];

/** Other spellings people use, and the id each stands for. */
const aliases: ReadonlyMap<string, HypervisorType> = new Map([['cloud-hypervisor', 'clh']]);

/**
 * Turns text into a hypervisor id. `cloud-hypervisor` is accepted for `clh`; case matters.
 * @throws {VmError} UNKNOWN_HYPERVISOR when the text names none of them
 */
export function parseHypervisorType(value: unknown): HypervisorType {
  const known = findHypervisorType(value);
  if (known !== undefined) return known;
  const given = typeof value === 'string' ? printable(value) : typeof value;
  throw new VmError('UNKNOWN_HYPERVISOR', `Unknown hypervisor type ${given} (known: ${hypervisorTypes.join(', ')})`, {
    field: 'hypervisor',
    advice: `Use one of ${hypervisorTypes.join(', ')}.`,
  });
}

/** The hypervisor id that the text stands for, if it does. */
export function findHypervisorType(value: unknown): HypervisorType | undefined {
  const known = hypervisorTypes.find((type) => type === value);
  return known ?? (typeof value === 'string' ? aliases.get(value) : undefined);
}

// The text may come from anywhere and ends in a terminal: keep it short and free of control characters.
function printable(text: string): string {
  const clean = text.replaceAll(/\p{C}/gu, '?');
  return clean.length > 64 ? `${clean.slice(0, 64)}...` : clean;
}
