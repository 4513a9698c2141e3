import { VmError } from '../errors.ts';
import type { ConfinementPlan } from './confinement-plan.ts';
import type { Jail } from './jail.ts';
import type { ToolName, Tools } from './tools.ts';

/** What a VMM is started through. Each command ends by running what follows it. */
export interface Through {
  /** the keeper's second part, which forks the VMM, in the VMM's mounts: its children get a new pid namespace, it does not */
  keeper: readonly string[];
  /** what the forked process runs before it becomes the VMM: in the VMM's pid namespace, whose processes /proc there is to show */
  preparation: readonly (readonly string[])[];
  program: readonly string[];
}

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
  const tool = finderIn(tools);
  const preparation: string[][] = [];
  const program: string[] = [];
  if (networkNamespace !== undefined) program.push(tool('nsenter'), `--net=${networkNamespace}`, '--');
  if (descriptors.length > 0) {
    program.push('/bin/sh', '-c', openScript, 'polyvisor-open', `${descriptors.length}`);
    program.push(...descriptors.flatMap(({ number, path }) => [`${number}`, path]));
  }
  if (lockMemory === true) program.push(tool('prlimit'), '--memlock=unlimited', '--');
  if (jail !== undefined) {
    preparation.push([tool('mount'), '-a', '-T', jail.fstab]);
    for (const { file, type, major, minor } of jail.nodes)
      preparation.push([tool('mknod'), '-m', '666', file, type, `${major}`, `${minor}`]);
    program.push(tool('unshare'), '--root', jail.root, '--wd', workingFolder, '--');
  }
  // Last: a label counts from the next program on, and the tools need the caller's.
  const label = plan.selinuxLabel === undefined ? [] : [`--selinux-label=${plan.selinuxLabel}`];
  const last = [...label, ...(plan.noNewPrivileges ? privileges(plan) : [])];
  if (last.length > 0) program.push(tool('setpriv'), ...last, '--');
  return { keeper: keeperThrough(plan.namespaces, tools), preparation, program };
}

/** The command for the keeper, which begins before the rest of a plan is known. Pure. @throws {VmError} HOST_MISSING when a tool is not there */
export function keeperThrough(namespaces: ConfinementPlan['namespaces'], tools: Tools): string[] {
  if (namespaces.length === 0) return [];
  const words = [finderIn(tools)('unshare')];
  if (namespaces.includes('user')) words.push('--user', '--map-root-user');
  for (const one of ['pid', 'mount', 'ipc', 'uts'] as const) if (namespaces.includes(one)) words.push(`--${one}`);
  // `slave`: what is mounted on the host later can be shown, and what is unmounted there is not held.
  if (namespaces.includes('mount')) words.push('--propagation', 'slave');
  return [...words, '--'];
}

function finderIn(tools: Tools): (name: ToolName) => string {
  return (name) => {
    const found = tools[name];
    if (found !== undefined) return found;
    throw new VmError('HOST_MISSING', `${name} is not on this host`, { advice: 'Install util-linux and coreutils.' });
  };
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
