import { readFileSync } from 'node:fs';
import { expect, it, vi } from 'vitest';
import type * as DeviceHost from '../../src/hypervisors/device-host.ts';
import { findProgram } from '../../src/transports/process/find-program.ts';
import { failure } from '../fakes/failure.ts';
import { scratch } from '../fakes/programs.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { smallGuest, withGuest } from './guest.ts';

/*
 * A vsock whose context id another VM has: QEMU ends over it before it answers, and is started again. The host's kernel is played, by a
 * program in front of QEMU; test/lab/own/qemu.ts asks a real one.
 */

vi.mock('../../src/hypervisors/device-host.ts', async (original) => ({
  ...(await original<typeof DeviceHost>()),
  // A host with /dev/vhost-vsock.
  onHost: <T>(device: T): Promise<T> => Promise.resolve(device),
}));

const at = scratch();

/**
 * QEMU, with another device in the vsock's place. So many times that is one over which it ends, with its sockets left behind, and what it says
 * is what it says when the id is taken.
 */
async function qemuAfter(times: number): Promise<{ program: string; asked: () => number[]; found: () => string }> {
  const asked = at.write('asked', '');
  const found = at.write('found', '');
  const qemu = await findProgram('qemu-system-x86_64');
  const program = at.script(
    'qemu',
    `words=
for word; do
  shift
  case $word in
    socket,id=qmp,path=*)
      socket=\${word#*path=}
      [ ! -e "\${socket%%,*}" ] || echo "$socket" >>'${found}'
      ;;
    *vhost-vsock*)
      printf '%s\\n' "$word" >>'${asked}'
      if [ "$(wc -l <'${asked}')" -gt ${times} ]; then
        word='{"driver":"virtio-balloon-pci","id":"instead"}'
      else
        words="qemu: -device $word: vhost-vsock: unable to set guest cid: Address already in use"
        word='{"driver":"virtio-blk-pci","id":"without-a-disk"}'
      fi
      ;;
  esac
  set -- "$@" "$word"
done
[ -n "$words" ] || exec '${qemu}' "$@"
'${qemu}' "$@" 2>/dev/null
echo "$words" >&2
exit 1`,
  );
  const ids = (): number[] =>
    readFileSync(asked, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { 'guest-cid': number })['guest-cid']);
  return { program, asked: ids, found: () => readFileSync(found, 'utf8') };
}

it('an id that was chosen gives way to another', async () => {
  const { program, asked, found } = await qemuAfter(2);
  await withGuest({ hypervisorPath: program, confinement: 'off', devices: [{ kind: 'vsock' }] }, async (vm) => {
    expect((await vm.exec(['echo', 'hello'], { check: true })).stdout).toBe('hello\n');
    expect(asked()).toHaveLength(3);
    expect(new Set(asked()).size).toBe(3);
    // A socket on which nobody listens any more would be taken for that of the next one.
    expect(found()).toBe('');
    // The log that QEMU writes of itself begins anew with each.
    await vm.stop();
    expect(await vm.wait()).toMatchObject({ reason: 'guest-shutdown' });
  });
});

it('an id that was given does not', async () => {
  const { program, asked } = await qemuAfter(1);
  const devices = [{ kind: 'vsock', contextId: 77 }] as const;
  const error = await failure(Vm.create({ ...smallGuest, hypervisorPath: program, confinement: 'off', devices }));
  expect(error).toMatchObject({ code: 'START_FAILED', rawMessage: expect.stringContaining('guest cid') as string });
  expect(error.advice).toContain('context id');
  expect(asked()).toEqual([77]);
});
