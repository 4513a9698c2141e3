import { aftermath } from './aftermath.ts';
import { randomFrom, seed } from './random.ts';
import {
  type Ending,
  type Fault,
  type Point,
  type Program,
  record,
  recordKeeper,
  strike,
  strikeKeeper,
} from './tracer.ts';

/** All points at once, instead of a sample: in the soak. */
const everything = process.env['POLYVISOR_CRASH'] === 'all';
/** What a sweep goes over. */
export interface Sweep {
  program: Program;
  fault: Fault;
  /** how many points are tried in an ordinary run; all of them in the soak */
  sample: number;
  /** makes what the program finds */
  before?: () => Promise<void>;
  /** whether the VM of this program may be detached */
  detached?: boolean;
}

/** Strikes a program at its points, one in each run, and looks what is left. @returns what was wrong, a line for each */
export async function sweep({ program, fault, sample, before, detached = false }: Sweep): Promise<string[]> {
  await before?.();
  const { points, ending } = await record(program);
  const wrong = (await aftermath({ detached, remains: true })).map((words) => `without a fault: ${words}`);
  if (ending.code !== 0) wrong.push(`without a fault it ends with ${ending.code}: ${ending.stderr}${ending.stdout}`);
  const fitting = points.filter((point) => fits(point, fault));
  const chosen = everything ? fitting : choose(fitting, sample);
  tell(describe(fault), chosen.length, fitting.length);
  for (const point of chosen) {
    await before?.();
    const found = await strike(program, point, fault);
    const problems = [
      ...('signal' in fault ? [] : judge(found)),
      ...(await aftermath({ detached, remains: !('signal' in fault) && (undoing.test(point.line) || died(found)) })),
    ];
    report(
      wrong,
      problems,
      `${describe(fault)} at ${point.call} ${point.nth} of ${point.thread} (${point.line.slice(0, 200)})`,
    );
  }
  return wrong;
}

/** Kills keeper, VMM and what the keeper runs at their calls, one in each run; their owner lives, so it must leave nothing. */
export async function sweepKeeper(program: Program, sample: number): Promise<string[]> {
  const { points, ending } = await recordKeeper(program);
  const wrong = (await aftermath({ detached: false, remains: false })).map((words) => `without a fault: ${words}`);
  if (ending.code !== 0) wrong.push(`without a fault it ends with ${ending.code}: ${ending.stderr}${ending.stdout}`);
  const chosen = everything ? points : choose(points, sample);
  tell('KILL of the keeper', chosen.length, points.length);
  for (const point of chosen) {
    const found = await strikeKeeper(program, point, { signal: 'KILL' });
    const problems = [...judge(found), ...(await aftermath({ detached: false, remains: false }))];
    report(wrong, problems, `keeper killed at ${point.call} ${point.nth} (${point.line.slice(0, 160)})`);
  }
  return wrong;
}

/** Printed at once, too: a run over all points takes long. */
function report(wrong: string[], problems: readonly string[], where: string): void {
  for (const words of problems) {
    wrong.push(`${where}: ${words}`);
    // oxlint-disable-next-line no-console -- see above
    console.log(`${where}: ${words}`);
  }
}

function tell(what: string, chosen: number, all: number): void {
  // oxlint-disable-next-line no-console -- so that a run that fails can be done again
  console.log(`${what}: ${chosen} of ${all} points, POLYVISOR_SEED=${seed}`);
}

/** A call by which something is removed: what it refuses to remove stays until the next prune. */
const undoing = /unlink|rmdir|\.gone-|O_DIRECTORY|SIG(KILL|TERM)|"(end|detach)/;

const describe = (fault: Fault): string => ('signal' in fault ? fault.signal : fault.error);

/** Node itself does not outlive a wake-up of its own loop that fails, and is then a crashed process like any other. */
const died = (ending: Ending): boolean => ending.signal !== null && !ending.hung;

/** A program that was struck and fails must say so with a code of ours. */
function judge(ending: Ending): string[] {
  if (ending.hung) return ['it hangs'];
  if (!ending.struck || died(ending) || ending.code === 0) return [];
  const words = `${ending.stdout}${ending.stderr}`.trim();
  const typed = /"code": ?"([A-Z_]+)"/.exec(words)?.[1];
  return typed === undefined || typed === 'UNTYPED' || typed === 'INTERNAL' ? [`no typed error: ${words}`] : [];
}

/**
 * Where Node itself can't do without: the pipe by which it learns of signals is written on the main thread, as are the files that are
 * written at once. Which of its writes it is changes from run to run.
 */
const untouchable = ({ thread, call }: Point): boolean => thread === 'main' && call === 'write';

const anywhere = new Set('fork vfork clone clone3 kill socketpair pipe2 mknod'.split(' '));
const openers = new Set('openat socket socketpair pipe2'.split(' '));
/** What writes to a disk, and so can find it full. */
const fillers = new Set('openat mkdir write pwrite64 fsync fdatasync rename link mknod'.split(' '));

/** Whether it is a call of ours that the fault can strike in reality. */
function fits(point: Point, fault: Fault): boolean {
  const { call, line } = point;
  const home = process.env['POLYVISOR_HOME'] ?? 'no home';
  const ours = line.includes(home) || line.includes('@"polyvisor') || anywhere.has(call);
  const readsOnly = call === 'openat' && line.includes('O_RDONLY');
  if ('signal' in fault) return (ours || line.includes('<socket:')) && !readsOnly;
  if (untouchable(point)) return false;
  if (fault.error === 'EMFILE') return openers.has(call) && (ours || call === 'socket');
  if (fault.error === 'ENOSPC') return fillers.has(call) && line.includes(home) && !readsOnly;
  return ours && !anywhere.has(call) && !/^\d+ +(socket|bind|listen|connect)/.test(line);
}

function choose(points: readonly Point[], count: number): Point[] {
  const random = randomFrom(seed);
  return points
    .map((point, at) => ({ point, at, key: random() }))
    .sort((a, b) => a.key - b.key)
    .slice(0, count)
    .sort((a, b) => a.at - b.at)
    .map(({ point }) => point);
}
