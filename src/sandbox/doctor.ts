import { agentBinary } from '../config/package-files.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import { type HypervisorType, hypervisorTypes } from '../config/hypervisor-type.ts';
import { defaultLevel } from '../confinement/confinement.ts';
import { type MissingMeasure, missingMeasures } from '../confinement/confinement-plan.ts';
import { readHostPowers } from '../confinement/host-powers.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { judgeKvm, type KvmVerdict } from '../hypervisors/accel.ts';
import type { HostVerdict } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { defaultImageName } from '../images/image.ts';
import { findImage } from '../images/store.ts';
import { places } from '../state/paths.ts';

/** What this host can do for one hypervisor type. */
export interface HypervisorReport extends HostVerdict {
  type: HypervisorType;
  /** the accelerator that `auto` would choose, for VMMs that have a choice */
  accel?: 'kvm' | 'tcg' | undefined;
}

/** What this host can do. */
export interface DoctorReport {
  host: HostFacts;
  kvm: KvmVerdict;
  hypervisors: HypervisorReport[];
  /** how a VMM is confined when nothing else is asked for, and the measures that this user can't take on this host */
  confinement: { level: ConfinementLevel; missing: MissingMeasure[] };
  /** the default guest, if it is built */
  image: { name: string; kernelRelease: string; folder: string } | undefined;
}

/** Looks at the host: what each hypervisor could do here and, where it can't, why and what to do. Changes nothing. */
export async function doctor(): Promise<DoctorReport> {
  const host = await readHostFacts();
  const kvm = await judgeKvm(host);
  const hypervisors = await Promise.all(hypervisorTypes.map((type) => report(type, host, kvm)));
  const image = await findImage(places().images, defaultImageName, agentBinary).catch(() => undefined);
  const found = image && { name: image.name, kernelRelease: image.manifest.kernelRelease, folder: image.folder };
  const confinement = { level: defaultLevel(), missing: missingMeasures(await readHostPowers()) };
  return { host, kvm, hypervisors, confinement, image: found };
}

async function report(type: HypervisorType, host: HostFacts, kvm: KvmVerdict): Promise<HypervisorReport> {
  try {
    const module = await loadDriver(type);
    const verdict = await module.probe(host);
    if (module.accels.length === 0 || !verdict.usable) return { type, ...verdict };
    if (kvm.state === 'usable') return { type, ...verdict, accel: 'kvm' };
    if (kvm.state === 'doubtful') {
      const unsure = {
        problem: kvm.reason,
        advice: 'The first VM with `accel: auto` boots a trial guest and remembers the verdict.',
      };
      return { type, ...verdict, accel: 'kvm', findings: [...verdict.findings, unsure] };
    }
    if (!module.accels.includes('tcg')) {
      const none = { problem: `no KVM (${kvm.reason})`, advice: 'It needs KVM: use `qemu`, which can do without.' };
      return { type, ...verdict, usable: false, findings: [...verdict.findings, none] };
    }
    const slow = {
      problem: `no KVM (${kvm.reason})`,
      advice: 'It runs with TCG, in software: slower, and nothing to do if that is enough.',
    };
    return { type, ...verdict, accel: 'tcg', findings: [...verdict.findings, slow] };
  } catch (error) {
    const { rawMessage, advice } = VmError.from(error);
    return { type, usable: false, findings: [{ problem: rawMessage, advice }] };
  }
}
