import { existsSync } from 'node:fs';
import type { GuestArch } from '../config/host.ts';
import { agentBinary, foreignAgent } from '../config/package-files.ts';
import { VmError } from '../errors.ts';
import { architectureOf, hostArchitecture } from './host-architecture.ts';
import { defaultGuestName } from './image.ts';

/** The default guest of an architecture: what it is called, and the agent that is its init. */
export interface DefaultGuestOf {
  name: string;
  agentPath: string;
  /** undefined for the host's */
  arch: GuestArch | undefined;
}

/**
 * @param arch default: the host's
 * @throws {VmError} HOST_MISSING when the agent was not compiled for it
 */
export function defaultGuestOf(arch: GuestArch | undefined): DefaultGuestOf {
  if (isHosts(arch)) return { name: defaultGuestName(undefined), agentPath: agentBinary, arch: undefined };
  const agentPath = foreignAgent(arch);
  if (existsSync(agentPath)) return { name: defaultGuestName(arch), agentPath, arch };
  throw new VmError(
    'HOST_MISSING',
    `the guest agent for ${arch} is not here: it was not compiled when polyvisor was built`,
    {
      path: agentPath,
      advice: `In a checkout, install the cross compiler (Debian: \`apt-get install ${crossPackages(arch)}\`), then \`npm run build\`.`,
    },
  );
}

/** Name of each default guest with an agent that is here. */
export function defaultGuests(): DefaultGuestOf[] {
  return ([undefined, 'amd64', 'arm64'] as const)
    .filter((arch) => arch === undefined || (!isHosts(arch) && existsSync(foreignAgent(arch))))
    .map((arch) => defaultGuestOf(arch));
}

function isHosts(arch: GuestArch | undefined): arch is undefined {
  return arch === undefined || arch === hostArchitecture().debian;
}

function crossPackages(arch: GuestArch): string {
  const { linux, debian } = architectureOf(arch);
  return `gcc-${linux.replace('_', '-')}-linux-gnu libc6-dev-${debian}-cross`;
}
