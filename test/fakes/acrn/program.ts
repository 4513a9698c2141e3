import { fakeProgram } from '../vmm-api/program.ts';

/** How a fake acrn-dm goes wrong. */
export const acrnFaults = [
  /** the hypervisor refuses to make the VM: acrn-dm gives up */
  'CREATE_VM',
  /** the hypervisor refuses to start it: acrn-dm lives on without a guest */
  'START_VM',
  /** the monitor never answers, as to a command that it does not know */
  'monitor-silence',
  /** the monitor answers no, and never why */
  'monitor-refuses',
  /** the monitor closes the connection instead of answering */
  'monitor-closes',
  /** the monitor answers what is no answer */
  'monitor-babbles',
  /** iasl is missing */
  'iasl',
] as const;
export type AcrnFault = (typeof acrnFaults)[number];

/**
 * A fake acrn-dm, as the text of a program.
 * @param sockets where its sockets for acrnctl are: /run/acrn/mngr of the real one
 */
export function fakeAcrnDm(sockets: string, fault?: AcrnFault): string {
  const version = '3.4-unstable-fake';
  const line = `DM: ${version} build by nobody@nowhere`;
  return fakeProgram(new URL('main.ts', import.meta.url), line, { version, fault, env: { FAKE_SOCKETS: sockets } });
}
