/*
 * A process that does with one VM what it is told over its IPC channel, one thing after the other, and answers how that went.
 */
import { VmError } from '../../src/errors.ts';
import { prune } from '../../src/sandbox/prune.ts';
import { endSpare } from '../../src/sandbox/spare-vm.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';

/** Something to do. */
export type Order =
  | { do: 'create'; options: VmOptions }
  | { do: 'connect' | 'open' | 'rename'; name: string }
  | { do: 'exec' | 'start' | 'pause' | 'resume' | 'stop' | 'kill' | 'detach' | 'adopt' | 'remove' | 'close' | 'prune' }
  /** to end what it has begun ahead */
  | { do: 'rest' };

/** How it went; `code` is that of a VmError. */
export type Answer = { ok: true; value?: unknown } | { ok: false; code: string; message: string };

let vm: Vm | undefined;

/** Holds another VM than before, or none. */
async function hold(next: Promise<Vm> | undefined): Promise<string | undefined> {
  const [before, after] = [vm, await next];
  vm = after;
  await before?.close();
  return vm?.id;
}

async function act(order: Order): Promise<unknown> {
  if (order.do === 'create') return hold(Vm.create(order.options));
  if (order.do === 'connect') return hold(Vm.connect(order.name, { timeoutMs: 20_000 }));
  if (order.do === 'open') return hold(Vm.open(order.name));
  if (order.do === 'close') return hold(undefined);
  if (order.do === 'prune') return prune();
  if (order.do === 'rest') return endSpare();
  if (vm === undefined) throw new VmError('INVALID_STATE', 'this actor holds no VM');
  if (order.do === 'exec') return (await vm.exec(['echo', 'on'], { timeoutMs: 2000 })).stdout;
  if (order.do === 'rename') return vm.rename(order.name);
  if (order.do === 'stop') return vm.stop({ graceMs: 5000 });
  if (order.do === 'start') return void (await vm.start());
  return vm[order.do]();
}

process.on('message', (order: Order) => {
  act(order).then(
    (value): void => void process.send?.({ ok: true, value } satisfies Answer),
    (error: unknown): void => {
      const { code, message } = error instanceof VmError ? error : { code: 'UNTYPED', message: String(error) };
      process.send?.({ ok: false, code, message } satisfies Answer);
    },
  );
});
process.on('disconnect', () => process.exit());
process.send?.('ready');
