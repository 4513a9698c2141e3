import { VmError } from '../../errors.ts';

/*
 * The command monitor of acrn-dm (`--cmd_monitor`): JSON on a unix stream socket, without framing. Each command is one write of
 * less than 4 KiB, and each answer one object. A command that it does not know gets no answer at all.
 */

/** Commands that the driver sends. */
export interface MonitorCommand {
  command: 'blkrescan';
  arguments: string;
}

/** Bytes of `arguments` that acrn-dm keeps (CMD_ARG_MAX less its NUL); it cuts the rest in silence. */
export const maxArgumentBytes = 319;

/** An answer is some fifteen bytes. */
const maxAnswerBytes = 4096;

/**
 * The answer in what has come so far: whether acrn-dm did it; undefined while it is not complete.
 * @throws {VmError} VMM_FAILED for what is no answer
 */
export function parseAnswer(text: string): boolean | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (cause) {
    if (text.length <= maxAnswerBytes) return undefined;
    throw new VmError(
      'VMM_FAILED',
      `the monitor of acrn-dm sent more than ${maxAnswerBytes} bytes that are no answer`,
      {
        cause,
      },
    );
  }
  const ack = (answer as { ack?: unknown } | null)?.ack;
  if (typeof ack === 'number') return ack === 0;
  throw new VmError('VMM_FAILED', `the monitor of acrn-dm answered ${JSON.stringify(answer)}`);
}
