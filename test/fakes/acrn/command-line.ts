/** What acrn-dm was told, as far as the fake has a use for it. */
export interface CommandLine {
  name: string;
  kernel: string;
  initrd: string | undefined;
  monitor: string;
  slots: readonly { slot: number; device: string; options: readonly string[] }[];
}

/** acrn-dm ends at once: with this code, and these words. */
export class Refusal extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, words: string) {
    super(words);
    this.exitCode = exitCode;
  }
}

/** Options that the real one takes today: whether they have a value. `-U`, `-c` and `-W` are no longer among them. */
const known: Readonly<Record<string, boolean>> = {
  '-m': true,
  '-s': true,
  '-l': true,
  '-k': true,
  '-r': true,
  '-B': true,
  '--cpu_affinity': true,
  '--cmd_monitor': true,
  '--iasl': true,
  '--logger_setting': true,
  '--virtio_poll': true,
  '--virtio_msi': false,
  '--lapic_pt': false,
  '--rtvm': false,
};

const usage = 1;
/** Devices that have a page of I/O space each; with more than so many of them the real one's ACPI tables are wrong. */
const withPorts: readonly string[] = ['virtio-blk', 'virtio-console', 'virtio-net', 'virtio-rnd'];
const mostWithPorts = 13;
const badValue = 64;

/** Reads the words as acrn-dm does, with what it refuses. @throws {Refusal} */
export function readCommandLine(argv: readonly string[]): CommandLine {
  const given = new Map<string, string[]>();
  const names: string[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (!word.startsWith('-')) {
      names.push(word);
      continue;
    }
    const hasValue = known[word];
    if (hasValue === undefined) throw new Refusal(usage, `acrn-dm: unrecognized option '${word}'`);
    given.set(word, [...(given.get(word) ?? []), hasValue ? (argv[++at] ?? '') : '']);
  }
  const one = (option: string): string | undefined => given.get(option)?.at(-1);
  const [name = '', ...others] = names;
  if (name === '' || others.length > 0 || name.length > 15) throw new Refusal(usage, 'usage: acrn-dm [options] <vm>');
  checkMemory(one('-m') ?? '256M');
  if (!/^\d+(,\d+)*$/.test(one('--cpu_affinity') ?? ''))
    throw new Refusal(usage, 'Failed to parse the MADT table of the guest');
  for (const line of given.get('-l') ?? [])
    if (line !== 'com1,stdio') throw new Refusal(badValue, `invalid lpc device configuration '${line}'`);
  const slots = (given.get('-s') ?? []).map(readSlot);
  if (!slots.some(({ device }) => device === 'hostbridge')) throw new Refusal(139, 'Segmentation fault');
  if (slots.filter(({ device }) => withPorts.includes(device)).length > mostWithPorts)
    throw new Refusal(usage, 'acpi_build failed, error=-1');
  return { name, kernel: one('-k') ?? '', initrd: one('-r'), monitor: one('--cmd_monitor') ?? '', slots };
}

function checkMemory(text: string): void {
  const [, digits, unit] = /^(\d+)([gmk])$/i.exec(text) ?? [];
  if (digits === undefined || unit === undefined) throw new Refusal(badValue, `invalid memsize '${text}'`);
  const mebibytes = Number(digits) * { g: 1024, m: 1, k: 1 / 1024 }[unit.toLowerCase() as 'g' | 'm' | 'k'];
  if (mebibytes < 128 || mebibytes % 2 !== 0) throw new Refusal(usage, `Unable to setup memory (0)`);
}

/** `SLOT[:FUNCTION],DEVICE[,OPTION...]` */
function readSlot(text: string): CommandLine['slots'][number] {
  const [place = '', device = '', ...options] = text.split(',');
  const slot = Number(place.split(':')[0]);
  if (!/^\d+(:\d+)?$/.test(place) || slot > 31) throw new Refusal(usage, `Invalid PCI slot info field "${text}"`);
  return { slot, device, options };
}
