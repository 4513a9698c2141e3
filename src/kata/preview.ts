import { stat } from 'node:fs/promises';
import { completeConfig } from '../config/complete.ts';
import { configFieldNames, configFields } from '../config/config-fields.ts';
import { agentBinary } from '../config/package-files.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { placeText, type Place } from '../toml/place.ts';
import type { Import } from './import.ts';
import { kataVmms } from './vmm-rules.ts';
import type { KataWarning } from './report.ts';

const BYTES_PER_MIB = 1024 * 1024;

/** Where an option was set; the section's heading when it was not. */
function placeOf(made: Import, field: string | undefined): Place {
  const name = configFieldNames.find((it) => it === field?.split(/[.[]/)[0]);
  return (name === undefined ? undefined : made.entryFor(name)?.place) ?? made.section.place;
}

function warning(place: Place, message: string): KataWarning {
  return { file: place.file, line: place.line, message: `${placeText(place)}: ${message}` };
}

/**
 * Looks at the files and folders that the options name: what isn't there is a warning, as is an image larger than the memory; an image
 * or initrd that is empty, or an initrd larger than the memory, is a problem.
 */
export async function lookAtFiles(made: Import): Promise<KataWarning[]> {
  const found: KataWarning[] = [];
  for (const field of configFieldNames) {
    const value = made.options[field];
    const { type } = configFields[field];
    const isFile = type.kind === 'path' && field !== 'guestHookPath';
    const paths = isFile ? [value] : field === 'pflash' ? ((value ?? []) as unknown[]) : [];
    for (const path of paths) {
      if (typeof path !== 'string') continue;
      const text = await missing(path);
      if (text !== undefined) found.push(warning(placeOf(made, field), `${field}: ${text}`));
    }
  }
  for (const field of ['image', 'initrd'] as const) found.push(...(await tooLarge(made, field)));
  return found;
}

async function missing(path: string): Promise<string | undefined> {
  try {
    await stat(path);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? `there is no ${path}` : `can't look at ${path} (${code})`;
  }
}

/** An initrd is read into memory as a whole; an image that is larger is only unusual. */
async function tooLarge(made: Import, field: 'image' | 'initrd'): Promise<KataWarning[]> {
  const path = made.options[field];
  const entry = made.entryFor(field);
  if (typeof path !== 'string' || entry === undefined) return [];
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) return [];
  if (found.size === 0) made.problem(entry, `image "${path}" is empty`);
  const memoryMiB = Number(made.options.memoryMiB ?? configFields.memoryMiB.default);
  const sizeMiB = Math.floor(found.size / BYTES_PER_MIB);
  if (sizeMiB < memoryMiB) return [];
  const message = `VM memory (${memoryMiB}MB) smaller than image "${path}" size (${sizeMiB}MB)`;
  if (field === 'image') return [warning(entry.place, message)];
  made.problem(entry, message);
  return [];
}

/** What Vm.create would say of the options, if it is no. */
export function wouldNotStart(made: Import): KataWarning[] {
  const { hypervisor: _, ...input } = made.options as VmConfigInput & { hypervisor: unknown };
  const guest = kataVmms[made.section.type].noGuest === true ? { kernel: agentBinary, initrd: agentBinary } : {};
  try {
    completeConfig({ ...guest, ...input }, made);
    return [];
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    return [warning(placeOf(made, error.facts.field), `a VM can't be made of this: ${error.rawMessage}`)];
  }
}
