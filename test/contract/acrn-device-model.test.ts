import { existsSync } from 'node:fs';
import { describe, it } from 'vitest';
import { buildAcrnRig } from '../rigs/build.ts';
import { describeRefusals, describeWithoutGuest } from '../rigs/acrn-without-guest.ts';

// The real acrn-dm on this very host, where somebody has built one: needs no KVM, but root and huge pages.
const acrnDm = process.env['POLYVISOR_ACRN_DM'];
const lacks =
  acrnDm === undefined
    ? 'POLYVISOR_ACRN_DM names no acrn-dm'
    : process.geteuid?.() !== 0
      ? 'acrn-dm needs root'
      : existsSync('/sys/kernel/mm/hugepages/hugepages-2048kB')
        ? undefined
        : 'this kernel has no huge pages of 2 MiB';

const tried = (): void => {
  const at = { acrnDm: acrnDm ?? '', acrnctl: process.env['POLYVISOR_ACRNCTL'], rig: buildAcrnRig() };
  describeWithoutGuest(at);
  describeRefusals(at, 'null');
};
const left = (): void => it('acrn: the real device model', ({ skip }) => skip(lacks));

describe('acrn-dm on this host', () => {
  const register = lacks === undefined ? tried : left;
  register();
});
