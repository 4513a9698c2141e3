import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { VmError } from '../errors.ts';
import type { GuestArch, HostFacts } from '../config/host.ts';

/** An accelerator as a user names it. */
export type AccelChoice = 'auto' | 'kvm' | 'tcg';

/** Whether KVM runs ordinary guests on this host, and why not. */
export interface KvmVerdict {
  /** `doubtful`: only booting a guest can tell */
  state: 'usable' | 'broken' | 'doubtful';
  /** a sentence without its full stop */
  reason: string;
}

/** Where the probe looks; another place in tests. */
export interface KvmEvidence {
  device: string;
  cpuinfo: string;
  /** folder of the loaded modules */
  modules: string;
}

const hostEvidence: KvmEvidence = { device: '/dev/kvm', cpuinfo: '/proc/cpuinfo', modules: '/sys/module' };

/**
 * Judges KVM by what the host shows, because a /dev/kvm that opens and creates VMs may still hang every ordinary guest: module
 * kvm_pvm runs guests with no help from the CPU, and only kernels made for it.
 */
export async function judgeKvm(host: HostFacts, evidence: KvmEvidence = hostEvidence): Promise<KvmVerdict> {
  try {
    accessSync(evidence.device, constants.R_OK | constants.W_OK);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return {
      state: 'broken',
      reason: missing ? `${evidence.device} does not exist` : `${evidence.device} may not be opened by this user`,
    };
  }
  const doubtful = {
    state: 'doubtful',
    reason: `${evidence.device} can be opened, which does not say that guests run`,
  } as const;
  if (host.arch !== 'amd64') return doubtful;
  const cpuinfo = readFileSync(evidence.cpuinfo, 'utf8');
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.trim().split(/\s+/) ?? [];
  const virtualizes = flags.includes('vmx') || flags.includes('svm');
  const loaded = (name: string): boolean => existsSync(`${evidence.modules}/${name}`);
  if (virtualizes && (loaded('kvm_intel') || loaded('kvm_amd'))) {
    return { state: 'usable', reason: 'the CPU virtualizes, and KVM has its module for it' };
  }
  if (!virtualizes && loaded('kvm_pvm')) {
    return {
      state: 'broken',
      reason: '/dev/kvm is served by kvm_pvm on a CPU without vmx or svm: it hangs ordinary guests',
    };
  }
  return doubtful;
}

/** The accelerator to use, and a line for the user when it is not the fast one. */
export interface AccelDecision {
  accel: 'kvm' | 'tcg';
  notice?: string | undefined;
}

/**
 * The accelerator for a guest of an architecture that is not the host's.
 * @throws {VmError} ACCEL_UNUSABLE when KVM was asked for
 */
export function accelOfForeign(choice: AccelChoice, host: HostFacts, arch: GuestArch): AccelDecision {
  if (choice === 'tcg') return { accel: 'tcg' };
  if (choice === 'auto')
    return { accel: 'tcg', notice: `a guest of ${arch} on ${host.arch}: using TCG, which is slower` };
  throw new VmError(
    'ACCEL_UNUSABLE',
    `KVM runs guests of this host's architecture (${host.arch}) only, not of ${arch}`,
    {
      field: 'accel',
      advice: 'Use `accel: auto` or `accel: tcg`.',
    },
  );
}

/**
 * Decides between KVM and TCG.
 * @param trust take /dev/kvm as it is (`disableNestingChecks`)
 * @param trial settles doubt by booting a guest
 * @param without what to do where KVM is asked for and is of no use
 * @throws {VmError} ACCEL_UNUSABLE when KVM was asked for and does not run guests here, and what the trial throws
 */
export async function decideAccel(
  choice: AccelChoice,
  host: HostFacts,
  trust: boolean,
  trial: () => Promise<KvmVerdict>,
  without = 'Use `accel: auto` or `accel: tcg`',
): Promise<AccelDecision> {
  if (choice === 'tcg') return { accel: 'tcg' };
  if (choice === 'kvm' && trust) return { accel: 'kvm' };
  const seen = await judgeKvm(host);
  const verdict = seen.state !== 'doubtful' ? seen : trust ? { ...seen, state: 'usable' as const } : await trial();
  if (verdict.state === 'usable') return { accel: 'kvm' };
  if (choice === 'kvm') {
    throw new VmError('ACCEL_UNUSABLE', `KVM does not run guests on this host: ${verdict.reason}`, {
      field: 'accel',
      advice: `${without}; or set \`disableNestingChecks\` if you know better.`,
    });
  }
  return { accel: 'tcg', notice: `no KVM (${verdict.reason}): using TCG, which is slower` };
}
