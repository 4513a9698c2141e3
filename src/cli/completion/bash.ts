import { allCommands, commandNames, type CompletedCommand, type WordKind } from './tree.ts';

/** The completion of a program for bash (4 or newer); the package bash-completion is not needed. */
export function bashCompletion(program: CompletedCommand): string {
  const [name = ''] = program.names;
  const commands = allCommands(program);
  return `# bash completion of ${name}; to load it: source <(${name} completion bash)
_${name}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} path= word i=1 at=0
  local flags= valued= kinds= more=
  COMPREPLY=()
  # Which command it is,
  while ((i < COMP_CWORD)); do
    word=\${COMP_WORDS[i]}
    case $path/$word in
${commands.slice(1).map(stepCase).join('\n')}
    *) break ;;
    esac
    ((i++))
  done
  case $path in
${commands.map(commandCase).join('\n')}
  esac
  # and which of its arguments.
  while ((i < COMP_CWORD)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      compopt -o default
      return
    elif [[ " $valued " == *" $word "* ]]; then
      ((i++))
    elif [[ $word != -* ]]; then
      ((at++))
    fi
    ((i++))
  done
  case $path:$prev in
${commands.flatMap(valueCases).join('\n')}
  *) [[ $cur == -* ]] && COMPREPLY=($(compgen -W "$flags" -- "$cur")) && return ;;
  esac
  kinds=($kinds)
  [[ -n $more ]] && ((at >= \${#kinds[@]})) && at=$((\${#kinds[@]} - 1))
  _${name}_kind "\${kinds[at]-}"
}

_${name}_kind() {
  case $1 in
  vm) COMPREPLY=($(compgen -W "$(${name} ls -aq 2>/dev/null)" -- "$cur")) ;;
  image) COMPREPLY=($(compgen -W "$(${name} image ls -q 2>/dev/null)" -- "$cur")) ;;
  file) compopt -o default ;;
  =*) COMPREPLY=($(compgen -W "\${1//[=,]/ }" -- "$cur")) ;;
  esac
}

complete -F _${name} ${name}
`;
}

/** From the words so far and the next one to the command they are. */
function stepCase({ path, names }: CompletedCommand): string {
  const before = path.split(' ').slice(0, -1).join(' ');
  return `    ${names.map((name) => quoted(`${before}/${name}`)).join(' | ')}) path=${quoted(path)} ;;`;
}

function commandCase(command: CompletedCommand): string {
  const { path, options, words, variadic, commands } = command;
  const valued = options.filter(({ value }) => value !== undefined);
  const kinds = commands.length > 0 ? [commandNames(command)] : words;
  return [
    `  ${quoted(path)}) flags=${quoted(options.flatMap(({ flags }) => flags).join(' '))}`,
    `valued=${quoted(valued.flatMap(({ flags }) => flags).join(' '))}`,
    `kinds=${quoted(kinds.map(kindWord).join(' '))}`,
    `more=${variadic ? '1' : ''} ;;`,
  ].join(' ');
}

function valueCases({ path, options }: CompletedCommand): string[] {
  return options.flatMap(({ flags, value }) =>
    value === undefined
      ? []
      : [
          `  ${flags.map((flag) => quoted(`${path}:${flag}`)).join(' | ')}) _polyvisor_kind ${quoted(kindWord(value))}; return ;;`,
        ],
  );
}

function kindWord(kind: WordKind): string {
  return typeof kind === 'string' ? kind : `=${kind.join(',')}`;
}

/** Names and flags hold no quotes. */
function quoted(text: string): string {
  return `'${text}'`;
}
