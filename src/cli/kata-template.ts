import { createHash } from 'node:crypto';
import { VmError } from '../errors.ts';
import type { VmEventListener } from '../sandbox/events.ts';
import type { SettledOptions } from './vm-settings.ts';

/** How the first VM's template is made. */
interface Making {
  readonly signal: AbortSignal;
  readonly timeoutMs?: number | undefined;
  readonly onEvent: VmEventListener;
}

/**
 * The name of the template that Kata's file asks for; undefined when it asks for none. Kata tells templates by their folders, so each
 * `template_path` has one.
 */
export function kataTemplateName({ settings: { factory } }: SettledOptions): string | undefined {
  if (factory?.template !== true) return undefined;
  if (factory.templatePath === '/run/vc/vm/template') return 'kata';
  return `kata-${createHash('sha256').update(factory.templatePath).digest('hex').slice(0, 8)}`;
}

/**
 * The template that Kata's file asks for, made if there is none yet: as with Kata, the first VM makes it for all that follow.
 * @throws {VmError} what `Vm.template` throws
 */
export async function kataTemplate(settled: SettledOptions, making: Making): Promise<string | undefined> {
  const name = kataTemplateName(settled);
  if (name === undefined) return undefined;
  const { Vm } = await import('../sandbox/vm.ts');
  try {
    return (await Vm.openTemplate(name)).name;
  } catch (error) {
    if (VmError.from(error).code !== 'NOT_FOUND') throw error;
  }
  try {
    return (await Vm.template({ ...settled.options, ...making, name })).name;
  } catch (error) {
    // Another one was quicker.
    if (VmError.from(error).code !== 'NAME_IN_USE') throw error;
    return name;
  }
}
