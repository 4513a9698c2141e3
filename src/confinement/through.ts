import { VmError } from '../errors.ts';
import type { ConfinementPlan } from './confinement-plan.ts';
import type { Jail } from './jail.ts';
import type { ToolName, Tools } from './tools.ts';

/** What a VMM is started through. Each command ends by running what follows it. */
export interface Through {
  /** the keeper's second part, which forks the VMM, in the VMM's mounts: its children get a new pid namespace, it does not */
  keeper: readonly string[];
  /** what the forked process does before it becomes the VMM: shell text, and words of it, which it shifts away */
  preparation?: { script: string; words: readonly string[] } | undefined;
  program: readonly string[];
}

/**
 * Mounts a jail: words are `mount`, the list, `mknod`, how many nodes, file, type, major and minor of each. Done in the VMM's
 * pid namespace, whose processes /proc there is to show.
 */
const mountScript = `
mount=$1 fstab=$2 mknod=$3 nodes=$4
shift 4
"$mount" -a -T "$fstab" || exit
while [ "$nodes" -gt 0 ]; do
  "$mknod" -m 666 "$1" "$2" "$3" "$4" || exit
  shift 4
  nodes=$((nodes - 1))
done
`;

/** Numbers of descriptors that nothing between us and a VMM has (keeper-script.ts), as far as every shell can name them: by one digit. */
export const freeDescriptors: readonly number[] = [3, 4, 5, 7, 8, 9];

/** Opens files and runs what follows them: words are how many, number and path of each, the command. */
const openScript = `
files=$1
shift
while [ "$files" -gt 0 ]; do
  case $1 in
    3) exec 3<>"$2" ;;
    4) exec 4<>"$2" ;;
    5) exec 5<>"$2" ;;
    7) exec 7<>"$2" ;;
    8) exec 8<>"$2" ;;
    9) exec 9<>"$2" ;;
    *) exit 1 ;;
  esac
  shift 2
  files=$((files - 1))
done
exec "$@"
`;

/**
 * The commands for a plan. Pure.
 * The VMM's own are `networkNamespace`, the path of the one that it is started in, and `workingFolder`, in the jail.
 * @throws {VmError} HOST_MISSING when a tool is not there
 */
export function throughOf(
  plan: ConfinementPlan,
  {
    jail,
    tools,
    networkNamespace,
    workingFolder = '/',
    lockMemory,
    descriptors = [],
  }: {
    jail: Jail | undefined;
    tools: Tools;
    networkNamespace?: string | undefined;
    workingFolder?: string | undefined;
    lockMemory?: boolean | undefined;
    descriptors?: readonly { number: number; path: string }[] | undefined;
  },
): Through {
  const tool = (name: ToolName): string => {
    const found = tools[name];
    if (found !== undefined) return found;
    throw new VmError('HOST_MISSING', `${name} is not on this host`, { advice: 'Install util-linux and coreutils.' });
  };
  const byUser = plan.namespaces.includes('user');
  const keeper = plan.namespaces.includes('pid')
    ? [tool('unshare'), ...(byUser ? ['--user', '--map-root-user'] : []), '--pid']
    : [];
  let preparation: Through['preparation'];
  const program: string[] = [];
  if (networkNamespace !== undefined) program.push(tool('nsenter'), `--net=${networkNamespace}`, '--');
  if (descriptors.length > 0) {
    program.push('/bin/sh', '-c', openScript, 'polyvisor-open', `${descriptors.length}`);
    program.push(...descriptors.flatMap(({ number, path }) => [`${number}`, path]));
  }
  if (lockMemory === true) program.push(tool('prlimit'), '--memlock=unlimited', '--');
  if (jail !== undefined) {
    // `slave`: what is mounted on the host later can be shown, and what is unmounted there is not held.
    keeper.push('--mount', '--ipc', '--uts', '--propagation', 'slave');
    const nodes = jail.nodes.flatMap(({ file, type, major, minor }) => [file, type, `${major}`, `${minor}`]);
    const mknod = nodes.length > 0 ? tool('mknod') : '';
    preparation = { script: mountScript, words: [tool('mount'), jail.fstab, mknod, `${jail.nodes.length}`, ...nodes] };
    program.push(tool('unshare'), '--root', jail.root, '--wd', workingFolder, '--');
  }
  if (keeper.length > 0) keeper.push('--');
  // Last: a label counts from the next program on, and the tools need the caller's.
  const label = plan.selinuxLabel === undefined ? [] : [`--selinux-label=${plan.selinuxLabel}`];
  const last = [...label, ...(plan.noNewPrivileges ? privileges(plan) : [])];
  if (last.length > 0) program.push(tool('setpriv'), ...last, '--');
  return { keeper, preparation, program };
}

function privileges({ uid, groups, capabilities }: ConfinementPlan): string[] {
  const words: string[] = ['--no-new-privs'];
  if (uid !== undefined) {
    words.push(`--reuid=${uid}`, `--regid=${uid}`);
    words.push(groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups');
  }
  if (capabilities === 'all') return words;
  // setpriv's names: without CAP_, in small letters.
  const kept = capabilities.map((name) => `,+${name.replace('CAP_', '').toLowerCase()}`).join('');
  words.push(`--inh-caps=-all${kept}`, `--ambient-caps=-all${kept}`, `--bounding-set=-all${kept}`);
  return words;
}
