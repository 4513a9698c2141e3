/** The agent protocol's constants, version 1: docs/agent-protocol.md. */

export const PROTOCOL_VERSION = 1;

/** What both sides' preface begins with; a nonce of {@link NONCE_BYTES} follows. */
export const MAGIC: Buffer = Buffer.from('PVAGENT1', 'latin1');
export const NONCE_BYTES = 16;

/** The first byte of each frame. */
export const SYNC = 0xa5;
export const HEADER_BYTES = 12;
/** The longest payload of a frame, in bytes. */
export const MAX_PAYLOAD = 65_536;
/** Zero bytes that complete whatever frame a former client left half-sent: a header and the longest payload. */
export const PADDING_BYTES: number = HEADER_BYTES + MAX_PAYLOAD;
/** How much of a former client's answers is dropped, in bytes, before the host gives up. */
export const MAX_STALE_BYTES: number = 16 * 1024 * 1024;

export const MAX_STREAMS = 256;
/** Streams that the host opens have odd ids, of 32 bits. */
export const MAX_STREAM_ID = 0xffff_ffff;
/** Bytes of input that may be sent on channel 0 before the agent's first CREDIT. */
export const INPUT_CREDIT = 65_536;
/** Longest address of a connection, in bytes. */
export const MAX_ADDRESS_BYTES = 128;
/** Longest message of an ERROR or an EVENT, in bytes. */
export const MAX_MESSAGE_BYTES = 1024;

export const FrameType = {
  HELLO: 0x01,
  ERROR: 0x02,
  PING: 0x03,
  PONG: 0x04,
  EVENT: 0x05,
  SPAWN: 0x10,
  STARTED: 0x11,
  DATA: 0x12,
  CREDIT: 0x13,
  SIGNAL: 0x14,
  RESIZE: 0x15,
  EXIT: 0x16,
  CANCEL: 0x17,
  PUT: 0x20,
  GET: 0x21,
  DIAL: 0x22,
  LISTEN: 0x23,
  ACCEPTED: 0x24,
  DONE: 0x25,
  SYNC: 0x30,
  ONLINE: 0x31,
  RESCAN: 0x32,
  INFO: 0x33,
  POWEROFF: 0x34,
  PREPARE: 0x35,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Field tags. */
export const Tag = {
  VERSION: 1,
  FEATURES: 2,
  AGENT: 3,
  BOOT_ID: 4,
  ERRNO: 5,
  MESSAGE: 6,
  EVENT: 7,
  ARG: 16,
  ENV: 17,
  CWD: 18,
  USER: 19,
  PTY: 20,
  ROWS: 21,
  COLS: 22,
  STDIN: 23,
  DETACH: 24,
  TIMEOUT_MS: 25,
  MAX_PIDS: 26,
  MAX_MEMORY: 27,
  CREDIT: 28,
  MAX_CPU: 29,
  PID: 32,
  SIGNAL: 33,
  TREE: 34,
  CODE: 35,
  TIMED_OUT: 36,
  OOM: 37,
  MODE: 48,
  ENTROPY: 49,
  CLOCK: 50,
  HOSTNAME: 51,
  MACHINE_ID: 52,
  MAC_MASK: 53,
  UPTIME_MS: 64,
  MEMORY_TOTAL: 65,
  MEMORY_AVAILABLE: 66,
  CPUS_ONLINE: 67,
  RESEEDS: 68,
  PROCESSES: 69,
  MEMORY_BLOCKS: 70,
  MEMORY_BLOCK_BYTES: 71,
  PATH: 80,
  ADDRESS: 81,
  LISTENER: 82,
  TOP: 83,
  FOLLOW: 84,
  ENTRIES: 85,
  BYTES: 86,
  SKIPPED: 87,
  IMAGE: 88,
} as const;
export type Tag = (typeof Tag)[keyof typeof Tag];

/** Channels of DATA and CREDIT frames; a connection's are TO_GUEST and FROM_GUEST. */
export const Channel = { STDIN: 0, STDOUT: 1, STDERR: 2, TO_GUEST: 0, FROM_GUEST: 1 } as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

export const PowerOffMode = { poweroff: 0, reboot: 1, halt: 2 } as const;
