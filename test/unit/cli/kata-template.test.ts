import { expect, it, vi } from 'vitest';
import { kataTemplate, kataTemplateName } from '../../../src/cli/kata-template.ts';
import { settle, tellSettings } from '../../../src/cli/vm-settings.ts';
import { listTemplates, removeTemplate } from '../../../src/sandbox/template.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { written } from '../kata/fixture.ts';

const making = { signal: new AbortController().signal, onEvent: (): void => undefined };
const file = (factory: string): string => written(`[hypervisor.mock]\ndefault_memory = 256\n[factory]\n${factory}\n`);

it("the first VM of Kata's file makes the template, and the next ones are cloned from it", async () => {
  const settled = await settle({ config: file('enable_template = true') });
  const events: string[] = [];
  const name = await kataTemplate(settled, {
    ...making,
    onEvent: (event) => void (event.type === 'phase' && events.push(event.phase)),
  });
  try {
    expect(name).toBe('kata');
    expect(events).toContain('ready');
    expect((await listTemplates()).map((it) => [it.name, it.info?.config.memoryMiB])).toEqual([['kata', 256]]);
    const made = (await listTemplates())[0]?.info?.id;
    const vm = await Vm.create({ ...settled.options, template: await kataTemplate(settled, making) });
    expect((await vm.exec(['echo', 'cloned'])).stdout).toBe('cloned\n');
    await vm.remove();
    expect((await listTemplates())[0]?.info?.id).toBe(made);
    // A file that says otherwise is told, not booted in silence.
    await expect(Vm.create({ ...settled.options, memoryMiB: 128, template: name })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
    });
  } finally {
    await removeTemplate('kata');
  }
});

it('each folder of templates has one of its own', async () => {
  const other = await settle({ config: file('enable_template = true\ntemplate_path = "/run/other"') });
  expect(kataTemplateName(other)).toMatch(/^kata-[0-9a-f]{8}$/);
  const none = await settle({ config: file('template_path = "/run/other"') });
  expect(kataTemplateName(none)).toBeUndefined();
  expect(await kataTemplate(none, making)).toBeUndefined();
  expect(await listTemplates()).toEqual([]);
});

it('a command that does not clone says so', async () => {
  const { settings } = await settle({ config: file('enable_template = true') });
  const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    tellSettings(settings, true);
    expect(written.mock.calls.flat().join('')).not.toContain('template');
    tellSettings(settings);
    expect(written.mock.calls.flat().join('')).toContain('the template of this file is not asked');
  } finally {
    written.mockRestore();
  }
});
