import { createHash, randomBytes } from 'node:crypto';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent, SyncOptions } from '../guest/agent.ts';
import { likelyCause, panicIn } from '../hypervisors/console-signs.ts';
import type { Hypervisor, VmmExit } from '../hypervisors/hypervisor.ts';
import { type AgentLink, linkAgent } from './agent-link.ts';

/** Milliseconds until a guest must have answered, by accelerator. */
const startTimeouts = { kvm: 60_000, tcg: 180_000 } as const;

/** What waiting for a guest needs to know. */
export interface BootFacts {
  accel: 'kvm' | 'tcg';
  stateFolder: string;
  name: string;
  /** milliseconds; by accelerator when absent */
  startTimeoutMs: number | undefined;
  /** nobody has talked with this guest before */
  fresh?: boolean | undefined;
  /** what the agent of a saved guest can do that stands between two frames: it is told all at once, and nothing is waited for */
  agentFeatures?: ReadonlySet<string> | undefined;
  /** id of the VM: a guest that others went on from as well gets a machine id made of it; one that boots has its own */
  machineFrom?: string | undefined;
  /** its network cards get addresses of their own: the ones that they have are another's */
  freshMacs?: boolean | undefined;
  /** settles when there is a VMM whose end can be waited for; it is there when absent */
  started?: Promise<unknown> | undefined;
  /** called when a channel to the agent is taken */
  onChannel?: (() => void) | undefined;
}

/**
 * Waits until the guest of a started VMM answers, and gives it what a fresh boot lacks: entropy, the time, its name.
 * @throws {VmError} START_TIMEOUT, START_FAILED or GUEST_PANICKED with the last words of VMM and guest; ABORTED, TIMEOUT
 */
export async function awaitGuest(hypervisor: Hypervisor, facts: BootFacts, call: CallOptions): Promise<AgentLink> {
  const limit = facts.startTimeoutMs ?? startTimeouts[facts.accel];
  const outer = callScope('create of the VM', call);
  const inner = callScope('the boot', { signal: outer.signal, timeoutMs: limit });
  const ended = new AbortController();
  const watched = Promise.resolve(facts.started)
    .then(() => hypervisor.wait({ signal: ended.signal }))
    .then(
      async (exit) => {
        throw await endedEarly(hypervisor, exit);
      },
      (): Promise<never> => new Promise(() => undefined),
    );
  try {
    const { agentFeatures, fresh = agentFeatures !== undefined, onChannel } = facts;
    // Not before it runs: what it is told is the time.
    const first = agentFeatures?.has('sync') === true && {
      after: Promise.resolve(facts.started),
      sync: () => ownOf(agentFeatures, facts),
    };
    const options = { signal: inner.signal, fresh, onChannel, first: first || undefined };
    const linked = linkAgent(facts.stateFolder, hypervisor.channels(), options);
    const link = await Promise.race([linked, watched]);
    try {
      if (first === false) await makeItsOwn(link.agent, facts, { signal: inner.signal });
    } catch (error) {
      await link.close();
      throw error;
    }
    return link;
  } catch (error) {
    const found = VmError.from(error);
    // A channel that breaks during the boot means that the VMM is ending: its exit says more.
    const broken = !inner.signal.aborted && (found.code === 'AGENT_GONE' || found.code === 'VMM_GONE');
    const reason = broken ? await inner.race(watched).catch((end: unknown) => VmError.from(end)) : found;
    outer.throwIfEnded();
    if (inner.signal.aborted) throw await tooSlow(hypervisor, limit, facts.accel);
    throw reason;
  } finally {
    ended.abort();
    inner.release();
    outer.release();
  }
}

/** Gives a guest what no other guest has: entropy and its names, and the time. */
export async function makeItsOwn(agent: GuestAgent, facts: OwnFacts, call: CallOptions): Promise<void> {
  await agent.sync(ownOf(agent.features, facts), call);
}

type OwnFacts = Pick<BootFacts, 'name' | 'machineFrom' | 'freshMacs'>;

/** @throws {VmError} UNSUPPORTED */
function ownOf(features: ReadonlySet<string>, { name, machineFrom, freshMacs }: OwnFacts): SyncOptions {
  const own = { entropy: randomBytes(64), clockNs: BigInt(Date.now()) * 1_000_000n, hostname: name };
  const machineId = machineFrom !== undefined && features.has('machine-id') ? machineIdOf(machineFrom) : undefined;
  // One that can't would stand on the network under its source's address.
  if (freshMacs === true && !features.has('mac'))
    throw new VmError('UNSUPPORTED', "the guest's agent can't give network cards other addresses", {
      advice: 'Unplug them from the source first.',
    });
  const macMask = freshMacs === true && machineFrom !== undefined ? macMaskOf(machineFrom) : undefined;
  return { ...own, machineId, macMask };
}

/** The same for a VM as long as there is it, and no other's. */
function machineIdOf(id: string): string {
  return createHash('sha256').update(`polyvisor machine-id ${id}`).digest('hex').slice(0, 32);
}

/** Which bits of an address are turned in a VM of this id. */
function macMaskOf(id: string): Buffer {
  return createHash('sha256').update(`polyvisor mac ${id}`).digest().subarray(0, 6);
}

/** What becomes of an address in a VM of this id, as the guest's agent makes it. */
export function turnedMac(mac: string, id: string): string {
  const mask = macMaskOf(id);
  const bytes = mac.split(':').map((byte, at) => Number.parseInt(byte, 16) ^ (mask[at] ?? 0));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

async function endedEarly(hypervisor: Hypervisor, exit: VmmExit): Promise<VmError> {
  const words = await hypervisor.lastWords();
  const facts = { operation: 'start', hypervisor: hypervisor.type, exitCode: exit.code, signal: exit.signal, ...words };
  const panic = panicIn(words.console);
  if (panic !== undefined) return new VmError('GUEST_PANICKED', panic, facts);
  const how = exit.signal === undefined ? `with exit code ${exit.code ?? 'unknown'}` : `by ${exit.signal}`;
  const why = exit.reason === undefined ? '' : ` (${exit.reason})`;
  return new VmError('START_FAILED', `the VMM ended ${how}${why} before the guest answered`, facts);
}

async function tooSlow(hypervisor: Hypervisor, limit: number, accel: string): Promise<VmError> {
  const words = await hypervisor.lastWords();
  const { cause, advice } = likelyCause(words.console, accel);
  const facts = { operation: 'start', hypervisor: hypervisor.type, advice, ...words };
  const code = panicIn(words.console) === undefined ? 'START_TIMEOUT' : 'GUEST_PANICKED';
  return new VmError(code, `the guest did not answer within ${limit} ms: ${cause}`, facts);
}
