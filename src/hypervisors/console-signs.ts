/** The line in which a Linux kernel says that it has panicked. */
export function panicIn(console: string): string | undefined {
  return /Kernel panic - not syncing: [^\n]*/.exec(console)?.[0];
}

/** What a console that ends before the agent answered says of the likely cause, and what to do. */
export function likelyCause(console: string, accel: string): { cause: string; advice: string } {
  const panic = panicIn(console);
  if (panic !== undefined)
    return { cause: panic, advice: 'Read the console above that line: the kernel says what it lacked.' };
  if (console.trim() === '') {
    return {
      cause: 'the guest has printed nothing: its kernel may not have started',
      advice:
        accel === 'kvm'
          ? 'KVM may hang guests on this host: try `accel: tcg`. Else check that the kernel is one that the VMM can boot.'
          : 'Check that the kernel is one that the VMM can boot, and that it has `console=ttyS0`.',
    };
  }
  if (!console.includes('polyvisor-agent')) {
    return {
      cause: 'the guest has booted, but no agent of ours spoke on its console',
      advice: "Boot an initrd that has polyvisor's agent as its init, or give it more time with `startTimeoutMs`.",
    };
  }
  return {
    cause: 'the agent runs but did not answer on its channel',
    advice: 'The guest kernel may lack the virtio-serial driver (virtio_console).',
  };
}
