/** One meaning and one standing piece of advice per error code; docs/errors.md is generated from this. */
export const errorCodes = {
  INVALID_CONFIG: [
    'A field of the configuration is unknown, of the wrong type or out of its range.',
    'Correct the field that the message names.',
  ],
  INVALID_ARGUMENT: ['An argument of a call or a command is wrong.', 'Correct the argument that the message names.'],
  INVALID_NAME: [
    'A name is not one that a VM or an image may have.',
    'Use letters, digits, `-` and `_`, at most 63, a letter or digit first.',
  ],
  NAME_IN_USE: ['A VM, template or snapshot of this name exists.', 'Choose another name, or remove that one.'],
  NOT_FOUND: ['There is no VM, template or snapshot of this name.', '`polyvisor ls -a` lists the names.'],
  NOT_RUNNING: ['The VM exists but does not run.', 'Look at `polyvisor inspect` for how it ended.'],
  INVALID_STATE: [
    'The operation is not allowed in the state that the VM is in.',
    'The message names the states that allow it.',
  ],
  BUSY: ['Another process holds what the operation needs.', 'Try again when the other one is done.'],
  UNSUPPORTED: ['This VMM, or this version of it, cannot do the operation.', 'docs/hypervisors.md says which one can.'],
  UNKNOWN_HYPERVISOR: ['There is no hypervisor type of this name.', 'Use qemu, firecracker, clh, acrn or mock.'],
  FILE_NOT_FOUND: ['A file that a call or the configuration names does not exist.', 'Correct the path.'],
  FILE_UNREADABLE: ['A file exists but may not be read.', 'Change its permissions, or run as a user who may read it.'],
  FILE_INVALID: ['A file is not what it should be: empty, a folder, or of the wrong content.', 'Name another file.'],
  HOST_MISSING: [
    'The host lacks a program or a feature.',
    '`polyvisor doctor` says what is missing and how to get it.',
  ],
  HYPERVISOR_NOT_FOUND: ['The VMM program is not on this host.', 'Install it, or name its path with `hypervisorPath`.'],
  HYPERVISOR_TOO_OLD: ['The VMM is older than the oldest version that is supported.', 'Install a newer one.'],
  ACCEL_UNUSABLE: [
    'The accelerator that was asked for does not run guests on this host.',
    'Use `--accel auto` or `--accel tcg`.',
  ],
  START_FAILED: [
    'The VMM ended, or refused its configuration, before the guest answered.',
    "Read the VMM's last lines in the error.",
  ],
  START_TIMEOUT: [
    'The guest did not answer in time.',
    "Read the console's last lines in the error; give more time with `startTimeoutMs`.",
  ],
  GUEST_PANICKED: ["The guest's kernel panicked.", "Read the console's last lines in the error."],
  GUEST_REFUSED: [
    'The guest did not let go of a device, a vCPU or memory.',
    'Have the guest stop using it, and try again.',
  ],
  VMM_FAILED: ['The VMM answered a request with an error.', "The VMM's own words are in the message."],
  VMM_GONE: ['The VMM ended while something was asked of it.', '`polyvisor logs --source vmm` shows its last words.'],
  AGENT_PROTOCOL: [
    'What came from the guest agent is not the agent protocol; the channel was closed.',
    'Do not trust this guest; rebuild its image.',
  ],
  AGENT_GONE: [
    'The channel to the guest agent was closed while something was asked of it.',
    'See whether the VM still runs: `polyvisor ls`.',
  ],
  AGENT_FAILED: ['The guest agent could not do what it was asked.', "The guest's own words are in the message."],
  GUEST_NOT_FOUND: ['There is no such program in the guest.', 'Check the name and the PATH inside the guest.'],
  GUEST_NOT_EXECUTABLE: [
    'The program exists in the guest but may not be executed.',
    'Check its mode and its interpreter.',
  ],
  EXEC_FAILED: ['The program could not be started in the guest.', 'The message says which step failed.'],
  NONZERO_EXIT: ['The command ended with a non-zero exit code, and `check` was set.', 'The result is in the error.'],
  CONNECT_FAILED: [
    'No program in the guest took the connection, or it broke.',
    'See whether the server in the guest runs, and on which address it listens.',
  ],
  TIMEOUT: ['The call did not finish in the time that it was given.', 'Give more time with `timeoutMs`.'],
  ABORTED: ["The call was ended by the caller's signal.", 'Nothing: this is what was asked.'],
  OUTPUT_LIMIT: [
    'A command wrote more than may be collected; it was ended.',
    'Iterate over the output, or raise `maxOutputBytes`.',
  ],
  ARCHIVE_INVALID: [
    'A tar stream is damaged, or holds what may not come out of a guest: names that lead elsewhere, devices, duplicates.',
    'Do not trust this guest. What was whole before that entry has been copied.',
  ],
  COPY_LIMIT: [
    'A guest sends more than may be copied out of it.',
    'Raise `limits`, if the guest is to be trusted with that much of the disk.',
  ],
  COPY_INCOMPLETE: [
    'Sockets, fifos and devices cannot be copied; everything else was.',
    'Leave them out, or copy the folders beside them one by one.',
  ],
  IMAGE_BUILD_FAILED: ['A guest image could not be made.', 'The message names the step and what the tool said.'],
  IMAGE_INVALID: [
    'An image to be imported is damaged, of a wrong digest, or holds what no image may hold.',
    'Get it again from whoever made it. Nothing of it was stored.',
  ],
  IMAGE_PULL_FAILED: [
    'A registry is not reachable, refuses, or breaks off.',
    "See the registry's words in the message, and whether this host can reach it.",
  ],
  IMAGE_NOT_FOUND: [
    'There is no guest image of this name.',
    '`polyvisor image ls` lists the images; `polyvisor image build` makes the default one.',
  ],
  PERMISSION: ['A file or folder does not belong to us, or may not be used.', 'Correct its owner or its mode.'],
  STATE_INVALID: ["A VM's state on disk cannot be read.", 'Remove the VM: `polyvisor rm -f NAME`.'],
  IO: ['The host refused to read or write.', 'The message names the file and the reason.'],
  INTERNAL: ['A fault of polyvisor itself.', 'Please report it, with the message and the stack.'],
} as const;

/** The closed set of error codes. */
export type ErrorCode = keyof typeof errorCodes;

/** What is known of a failure, beside its code and message. Texts from the guest are stripped of control characters. */
export interface ErrorFacts {
  /** the operation that failed, as in the hypervisor interface */
  operation?: string | undefined;
  /** hypervisor type */
  hypervisor?: string | undefined;
  /** name of the VM */
  name?: string | undefined;
  /** configuration field */
  field?: string | undefined;
  path?: string | undefined;
  /** line of the file `path`, from 1 */
  line?: number | undefined;
  exitCode?: number | undefined;
  signal?: string | undefined;
  /** Linux' name of an error number, such as ENOENT */
  errno?: string | undefined;
  /** last lines of the VMM's log */
  log?: string | undefined;
  /** last lines of the guest's console */
  console?: string | undefined;
  /** advice for this very failure; the code's standing advice otherwise */
  advice?: string | undefined;
}

/** The one error class of polyvisor. The code comes first in the message. */
export class VmError extends Error {
  readonly code: ErrorCode;
  readonly facts: ErrorFacts;
  /** the message without its code */
  readonly rawMessage: string;

  constructor(code: ErrorCode, message: string, options: ErrorFacts & { cause?: unknown } = {}) {
    const { cause, ...facts } = options;
    super(`${code}: ${message}`, cause === undefined ? undefined : { cause });
    this.name = 'VmError';
    this.code = code;
    this.facts = facts;
    this.rawMessage = message;
  }

  /** What to do about it, in a sentence. */
  get advice(): string {
    return this.facts.advice ?? errorCodes[this.code][1];
  }

  /** A VmError as it is; anything else wrapped with its cause kept. */
  static from(reason: unknown, code: ErrorCode = 'INTERNAL', facts: ErrorFacts = {}): VmError {
    if (reason instanceof VmError) return reason;
    const message = reason instanceof Error ? reason.message : String(reason);
    return new VmError(code, message, { ...facts, cause: reason });
  }

  /** The same error with more facts; those already known win. */
  with(facts: ErrorFacts): VmError {
    const error = new VmError(this.code, this.rawMessage, { ...facts, ...this.facts, cause: this.cause });
    if (this.stack !== undefined) error.stack = this.stack;
    return error;
  }
}
