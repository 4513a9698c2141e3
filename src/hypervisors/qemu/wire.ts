/** Answers of the QMP commands that the driver uses (QEMU's QAPI schema: qapi/run-state.json, qapi/machine.json). */

export interface StatusInfo {
  status: RunState;
  running: boolean;
}

/** QAPI's RunState. */
export type RunState =
  | 'colo'
  | 'debug'
  | 'finish-migrate'
  | 'guest-panicked'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog';

export interface CpuInfoFast {
  'cpu-index': number;
  'thread-id': number;
  'qom-path': string;
}

/** A line of the event log that QEMU writes by itself. */
export interface LoggedEvent {
  event: string;
  data?: { guest?: boolean; reason?: string; action?: string };
  timestamp?: { seconds: number; microseconds: number };
}
