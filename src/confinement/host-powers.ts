import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { type CgroupHost, findCgroups } from './cgroup-host.ts';
import { findTools, type ToolName, type Tools } from './tools.ts';

/** What this user can do on this host to confine a VMM. A text says why not. */
export interface HostPowers {
  /** whether a VMM can get a uid of its own */
  ownUid: true | string;
  /** mount, pid, ipc and uts namespaces with a root of its own; `user`: by way of a user namespace */
  namespaces: 'root' | 'user' | { missing: string };
  noNewPrivileges: true | string;
  /** whether there is something to drop: an ordinary user without namespaces has none */
  capabilities: 'droppable' | 'none' | { missing: string };
  cgroups: CgroupHost | string;
  tools: Tools;
}

/** Bits of a capability set (linux/capability.h) without which root can't do it. */
const neededCapabilities = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_SYS_CHROOT: 18,
  CAP_SYS_ADMIN: 21,
} as const;

let known: Promise<HostPowers> | undefined;

/** Looks once per process: the answer costs an ordinary user a process that tries it. */
export function readHostPowers(): Promise<HostPowers> {
  known ??= lookAtHost();
  return known;
}

async function lookAtHost(): Promise<HostPowers> {
  const tools = findTools();
  const lacking = (...names: ToolName[]): string | undefined => {
    const missing = names.filter((name) => tools[name] === undefined);
    return missing.length === 0
      ? undefined
      : `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not on this host`;
  };
  const root = process.geteuid?.() === 0;
  const noTools = lacking('unshare', 'setpriv', 'mount');
  const capabilities = root ? missingCapabilities() : 'only root can give it one';
  const refusal = noTools ?? (root ? capabilities : await userNamespaceRefusal(tools));
  const held = root ? heldCapabilities() : 0n;
  return {
    ownUid: noTools ?? capabilities ?? true,
    namespaces: refusal === undefined ? (root ? 'root' : 'user') : { missing: refusal },
    noNewPrivileges: lacking('setpriv') ?? true,
    capabilities: droppable(root, refusal === undefined, held, lacking('setpriv')),
    cgroups: findCgroups(root && capabilities === undefined),
    tools,
  };
}

function droppable(
  root: boolean,
  namespaces: boolean,
  held: bigint,
  noTool: string | undefined,
): HostPowers['capabilities'] {
  if (!root && !namespaces) return 'none';
  if (noTool !== undefined) return { missing: noTool };
  const may = !root || has(held, neededCapabilities.CAP_SETPCAP);
  return may ? 'droppable' : { missing: 'this root lacks CAP_SETPCAP' };
}

function missingCapabilities(): string | undefined {
  const held = heldCapabilities();
  const missing = Object.entries(neededCapabilities).filter(([, bit]) => !has(held, bit));
  return missing.length === 0 ? undefined : `this root lacks ${missing.map(([name]) => name).join(', ')}`;
}

function heldCapabilities(): bigint {
  const status = readFileSync('/proc/self/status', 'latin1');
  return BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}

function has(held: bigint, bit: number): boolean {
  return ((held >> BigInt(bit)) & 1n) === 1n;
}

/** Whether a user namespace may be made and used is up to sysctls, security modules and limits: trying is the only way to know. */
async function userNamespaceRefusal({ unshare, mount }: Tools): Promise<string | undefined> {
  if (unshare === undefined || mount === undefined) return undefined;
  const words = [
    '--user',
    '--map-root-user',
    '--mount',
    '--pid',
    '--ipc',
    '--uts',
    '--',
    mount,
    '--bind',
    '/usr',
    '/usr',
  ];
  try {
    await promisify(execFile)(unshare, words, { timeout: 10_000 });
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? '';
    return `this user may not use user namespaces${said === '' ? '' : ` (${said})`}`;
  }
}
