import { allCommands, type CompletedCommand, type CompletedOption, type WordKind } from './tree.ts';

/** The completion of a program for zsh, with descriptions. */
export function zshCompletion(program: CompletedCommand): string {
  const [name = ''] = program.names;
  const commands = allCommands(program);
  return `#compdef ${name}
# zsh completion of ${name}; to load it: source <(${name} completion zsh)

${commands.map((command) => functionOf(name, command)).join('\n\n')}

_${name}_vms() { local -a names=(\${(f)"$(${name} ls -aq 2>/dev/null)"}); compadd -a names }
_${name}_images() { local -a keys=(\${(f)"$(${name} image ls -q 2>/dev/null)"}); compadd -a keys }

# Loaded by the completion system it is called; sourced it registers itself.
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

function functionOf(program: string, command: CompletedCommand): string {
  const specs = command.options.map(optionSpec);
  if (command.commands.length === 0) {
    const words = command.words.map((kind, at) => {
      const repeats = command.variadic && at === command.words.length - 1;
      return `'${repeats ? '*' : at + 1}: :${actionOf(program, kind)}'`;
    });
    return `${functionName(program, command)}() {\n  _arguments -s ${[...specs, ...words].join(' \\\n    ')}\n}`;
  }
  const described = command.commands.flatMap(({ names, summary }) =>
    names.map((name) => `'${name}:${escaped(summary)}'`),
  );
  const cases = command.commands.map((it) => `    ${it.names.join(' | ')}) ${functionName(program, it)} ;;`);
  return `${functionName(program, command)}() {
  local state line
  local -a commands=(
    ${described.join('\n    ')}
  )
  _arguments -C ${[...specs, `'1: :->command'`, `'*:: :->rest'`].join(' \\\n    ')}
  case $state in
  command) _describe command commands ;;
  rest)
    case $line[1] in
${cases.join('\n')}
    esac
    ;;
  esac
}`;
}

function functionName(program: string, { path }: CompletedCommand): string {
  return ['', program, ...(path === '' ? [] : path.split(/[ -]/))].join('_');
}

/** As _arguments takes it: the flags exclude each other, and one that takes a value says what. */
function optionSpec({ flags, description, value }: CompletedOption): string {
  const text = `[${escaped(description).replaceAll(/[[\]]/g, String.raw`\$&`)}]`;
  const argument = value === undefined ? '' : `: :${actionOf('polyvisor', value)}`;
  const [first = '', second] = flags;
  if (second === undefined) return `'*${first}${text}${argument}'`;
  return `{${first},${second}}'${text}${argument}'`;
}

function actionOf(program: string, kind: WordKind): string {
  if (typeof kind !== 'string') return `(${kind.join(' ')})`;
  return { vm: `_${program}_vms`, image: `_${program}_images`, file: '_files', any: '' }[kind];
}

/** Inside single quotes, in a list in which a colon ends a part. */
function escaped(text: string): string {
  return text.replaceAll("'", String.raw`'\''`).replaceAll(':', String.raw`\:`);
}
