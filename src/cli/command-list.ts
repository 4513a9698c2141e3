import type { Command } from 'commander';

/** A command: its line in the help, and the file that has the rest, loaded only when it is asked for. */
export interface CommandEntry {
  name: string;
  aliases?: readonly string[];
  /** its heading in the help */
  group: Group;
  summary: string;
  /** whether it needs the others loaded, too */
  needsAll?: boolean;
  load(): Promise<Command>;
}

type Group = 'Life of a VM' | 'Work in a VM' | 'Look at VMs' | 'This host';

/** Every command, in the order of the help. */
export const commandList: readonly CommandEntry[] = [
  {
    name: 'run',
    group: 'Life of a VM',
    summary: 'run a command in a new VM',
    load: async () => (await import('./commands/run.ts')).run(),
  },
  {
    name: 'create',
    group: 'Life of a VM',
    summary: 'make a VM; start nothing',
    load: async () => (await import('./commands/create.ts')).create(),
  },
  {
    name: 'start',
    group: 'Life of a VM',
    summary: 'start VMs that were created, or that have ended',
    load: async () => (await import('./commands/start.ts')).start(),
  },
  {
    name: 'stop',
    group: 'Life of a VM',
    summary: 'end VMs; their files stay',
    load: async () => (await import('./commands/stop.ts')).stop(),
  },
  {
    name: 'kill',
    group: 'Life of a VM',
    summary: 'end VMs at once, or signal their VMMs',
    load: async () => (await import('./commands/kill.ts')).kill(),
  },
  {
    name: 'pause',
    group: 'Life of a VM',
    summary: 'stop the vCPUs of VMs',
    load: async () => (await import('./commands/pause.ts')).pause(),
  },
  {
    name: 'resume',
    aliases: ['unpause'],
    group: 'Life of a VM',
    summary: 'let paused VMs go on',
    load: async () => (await import('./commands/resume.ts')).resume(),
  },
  {
    name: 'wait',
    group: 'Life of a VM',
    summary: 'wait until VMs have ended',
    load: async () => (await import('./commands/wait.ts')).wait(),
  },
  {
    name: 'resize',
    group: 'Life of a VM',
    summary: 'give a running VM more or less vCPUs and memory',
    load: async () => (await import('./commands/resize.ts')).resize(),
  },
  {
    name: 'attach',
    group: 'Life of a VM',
    summary: 'give a running VM a disk, a network, a folder or another device',
    load: async () => (await import('./commands/attach.ts')).attach(),
  },
  {
    name: 'detach',
    group: 'Life of a VM',
    summary: 'take devices from a running VM',
    load: async () => (await import('./commands/detach.ts')).detach(),
  },
  {
    name: 'snapshot',
    group: 'Life of a VM',
    summary: 'save a VM, and go on from there',
    load: async () => (await import('./commands/snapshot.ts')).snapshot(),
  },
  {
    name: 'commit',
    group: 'Life of a VM',
    summary: "make an image of a running VM's root file system",
    load: async () => (await import('./commands/commit.ts')).commit(),
  },
  {
    name: 'fork',
    group: 'Life of a VM',
    summary: 'make VMs that go on where a running one is',
    load: async () => (await import('./commands/fork.ts')).fork(),
  },
  {
    name: 'factory',
    group: 'Life of a VM',
    summary: 'make templates, from which VMs are cloned',
    load: async () => (await import('./commands/factory.ts')).factory(),
  },
  {
    name: 'rename',
    group: 'Life of a VM',
    summary: 'give a VM another name',
    load: async () => (await import('./commands/rename.ts')).rename(),
  },
  {
    name: 'rm',
    group: 'Life of a VM',
    summary: 'remove VMs',
    load: async () => (await import('./commands/rm.ts')).rm(),
  },
  {
    name: 'exec',
    group: 'Work in a VM',
    summary: 'run a command in a running VM',
    load: async () => (await import('./commands/exec.ts')).exec(),
  },
  {
    name: 'shell',
    group: 'Work in a VM',
    summary: 'open a login shell in a running VM',
    load: async () => (await import('./commands/shell.ts')).shell(),
  },
  {
    name: 'console',
    group: 'Work in a VM',
    summary: "attach to a VM's console",
    load: async () => (await import('./commands/console.ts')).consoleCommand(),
  },
  {
    name: 'cp',
    group: 'Work in a VM',
    summary: 'copy files into a running VM, or out of it',
    load: async () => (await import('./commands/cp.ts')).cp(),
  },
  {
    name: 'sync',
    group: 'Work in a VM',
    summary: "bring this host's folders up to the guest's copies",
    load: async () => (await import('./commands/sync.ts')).sync(),
  },
  {
    name: 'ls',
    aliases: ['ps', 'list'],
    group: 'Look at VMs',
    summary: 'list VMs',
    load: async () => (await import('./commands/ls.ts')).ls(),
  },
  {
    name: 'inspect',
    group: 'Look at VMs',
    summary: 'print all about a VM, as JSON',
    load: async () => (await import('./commands/inspect.ts')).inspect(),
  },
  {
    name: 'logs',
    group: 'Look at VMs',
    summary: "print a VM's console or its VMM's log",
    load: async () => (await import('./commands/logs.ts')).logs(),
  },
  {
    name: 'stats',
    group: 'Look at VMs',
    summary: 'show what running VMs use',
    load: async () => (await import('./commands/stats.ts')).stats(),
  },
  {
    name: 'events',
    group: 'Look at VMs',
    summary: 'print what happens to VMs',
    load: async () => (await import('./commands/events.ts')).events(),
  },
  {
    name: 'port',
    group: 'Look at VMs',
    summary: 'list the ports that lead into a VM',
    load: async () => (await import('./commands/port.ts')).port(),
  },
  {
    name: 'plan',
    group: 'Look at VMs',
    summary: 'print what a VMM would be told',
    load: async () => (await import('./commands/plan.ts')).plan(),
  },
  {
    name: 'config',
    group: 'This host',
    summary: 'show the configuration, or read that of Kata Containers',
    load: async () => (await import('./commands/config.ts')).config(),
  },
  {
    name: 'doctor',
    group: 'This host',
    summary: 'say what this host can do',
    load: async () => (await import('./commands/doctor.ts')).doctor(),
  },
  {
    name: 'image',
    group: 'This host',
    summary: 'pull, import, build, list and remove images',
    load: async () => (await import('./commands/image.ts')).image(),
  },
  {
    name: 'prune',
    group: 'This host',
    summary: 'remove what nobody uses any more',
    load: async () => (await import('./commands/prune.ts')).prune(),
  },
  {
    name: 'completion',
    group: 'This host',
    needsAll: true,
    summary: "print a shell's completion",
    load: async () => (await import('./commands/completion.ts')).completion(),
  },
  {
    name: 'version',
    group: 'This host',
    summary: 'print the version',
    load: async () => (await import('./commands/version.ts')).version(),
  },
];
