import type { CompletedCommand, CompletedOption, WordKind } from './tree.ts';

/** The completion of a program for fish, with descriptions. */
export function fishCompletion(program: CompletedCommand): string {
  const [name = ''] = program.names;
  return `# fish completion of ${name}; to load it: ${name} completion fish | source

# Whether the words so far, options apart, are a command: each argument is a word of it, or its names with | between them.
function __${name}_in
  set -l words (string match -v -- '-*' (commandline -opc))[2..]
  test (count $words) -ge (count $argv); or return 1
  for i in (seq (count $argv))
    contains -- $words[$i] (string split '|' $argv[$i]); or return 1
  end
end

# Whether nothing has been said after that.
function __${name}_at
  test (count (string match -v -- '-*' (commandline -opc))) -eq (math 1 + (count $argv)); and __${name}_in $argv
end

complete -c ${name} -f
${linesOf(name, program, []).join('\n')}
`;
}

/** @param words the command's words, each with all its names */
function linesOf(program: string, command: CompletedCommand, words: readonly string[]): string[] {
  const { commands, options } = command;
  const begin = `complete -c ${program}`;
  const path = words.map((it) => ` '${it}'`).join('');
  const isHere = `-n "__${program}_in${path}"`;
  const flags = options.map((option) => `${begin} ${isHere} ${optionWords(program, option)}`);
  const kinds = commands.length > 0 ? [] : [...new Set(command.words)];
  const args = kinds.map((kind) => offerOf(program, kind)).filter((offer) => offer !== '');
  return [
    ...commands.flatMap(({ names, summary }) =>
      names.map((name) => `${begin} -n "__${program}_at${path}" -a ${name} -d ${quoted(summary)}`),
    ),
    ...flags,
    ...args.map((offer) => `${begin} ${isHere} ${offer}`),
    ...commands.flatMap((it) => linesOf(program, it, [...words, it.names.join('|')])),
  ];
}

function optionWords(program: string, { flags, description, value }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const offer = value === undefined ? '' : ` ${value === 'file' ? '-r' : '-x'} ${offerOf(program, value)}`;
  return `${names.join(' ')}${offer.trimEnd()} -d ${quoted(description)}`;
}

function offerOf(program: string, kind: WordKind): string {
  if (typeof kind !== 'string') return `-a ${quoted(kind.join(' '))}`;
  if (kind === 'vm') return `-a ${quoted(`(${program} ls -aq 2>/dev/null)`)}`;
  if (kind === 'image') return `-a ${quoted(`(${program} image ls -q 2>/dev/null)`)}`;
  return kind === 'file' ? '-F' : '';
}

/** Inside single quotes fish gives a meaning to `\` and `'` only. */
function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
