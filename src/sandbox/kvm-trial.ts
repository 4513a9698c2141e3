import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { KvmVerdict } from '../hypervisors/accel.ts';
import { writeAtomically } from '../state/atomic-file.ts';
import { bootId } from '../state/process-identity.ts';
import { bringUp, tearDown, type VmToBe } from './bring-up.ts';
import { madeUpName } from './vm-name.ts';

/** Milliseconds in which a small guest answers under any KVM that works. */
const trialMs = 20_000;

/** A verdict holds until the host boots anew: modules and nesting change with that. */
interface StoredVerdict {
  schema: 1;
  bootId: string;
  verdict: KvmVerdict;
}

/**
 * Settles whether KVM runs guests on this host by booting one, and remembers the verdict.
 * @param vm the guest to try with; its name and accelerator are not used
 * @throws {VmError} ABORTED, TIMEOUT, IO, and what `bringUp` throws when it is not KVM's fault
 */
export async function tryKvm(vm: Omit<VmToBe, 'name' | 'accel'>, call: CallOptions): Promise<KvmVerdict> {
  const file = path.join(vm.at.verdicts, 'kvm.json');
  const known = await storedVerdict(file);
  if (known !== undefined) return known;
  const verdict = await trial(vm, call);
  await mkdir(vm.at.verdicts, { recursive: true, mode: 0o700 });
  const stored: StoredVerdict = { schema: 1, bootId: bootId(), verdict };
  await writeAtomically(file, `${JSON.stringify(stored)}\n`);
  return verdict;
}

async function trial(vm: Omit<VmToBe, 'name' | 'accel'>, call: CallOptions): Promise<KvmVerdict> {
  const config = { ...vm.config, vcpus: 1, maxVcpus: 1, memoryMiB: Math.min(vm.config.memoryMiB, 256) };
  const name = `kvm-trial-${madeUpName()}`;
  try {
    const running = await bringUp(
      { ...vm, config, accel: 'kvm', name, startTimeoutMs: trialMs },
      () => undefined,
      call,
    );
    await running.link.close();
    await tearDown(running.held);
    return { state: 'usable', reason: 'a trial guest booted with KVM' };
  } catch (error) {
    const { code, rawMessage } = VmError.from(error);
    if (code !== 'START_TIMEOUT' && code !== 'START_FAILED' && code !== 'GUEST_PANICKED') throw error;
    return { state: 'broken', reason: `a trial guest did not boot with KVM: ${rawMessage}` };
  }
}

async function storedVerdict(file: string): Promise<KvmVerdict | undefined> {
  try {
    const stored = JSON.parse(await readFile(file, 'utf8')) as Partial<StoredVerdict>;
    return stored.schema === 1 && stored.bootId === bootId() ? stored.verdict : undefined;
  } catch {
    // Missing or unreadable: the trial is made anew.
    return undefined;
  }
}
