import { hypervisorKeyNotes, versionedKeys } from './keys-hypervisor.ts';
import { sectionNote } from './keys-sections.ts';
import type { MergedFiles } from './merged.ts';
import type { KataVersion } from './report.ts';

/**
 * Which of Kata's versions a file is for, by the keys that only one of them has: their defaults differ. The first such key decides;
 * without one it is taken for 1.x.
 */
export function kataVersion({ entries, tables }: MergedFiles): KataVersion {
  for (const { path } of [...tables, ...entries]) {
    const [section, name] = path;
    const key = path.at(-1) ?? '';
    const only =
      section === 'hypervisor'
        ? (hypervisorKeyNotes.get(key)?.only ?? versionedKeys.get(key))
        : sectionNote(path)?.only;
    if (only !== undefined && (name !== undefined || section !== 'hypervisor')) return only;
  }
  return '1.x';
}
