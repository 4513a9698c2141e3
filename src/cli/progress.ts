import type { BuildEvent } from '../images/image.ts';
import type { ImportEvent } from '../images/roots/import.ts';
import type { VmEvent } from '../sandbox/events.ts';
import { isLively, mayColour } from './output.ts';
import { duration, mebibytes } from './units.ts';

/** Where progress is shown. */
export interface ProgressTarget {
  stream: { write(text: string): unknown; isTTY?: boolean | undefined; columns?: number | undefined };
  /** show nothing at all */
  quiet: boolean;
  env?: NodeJS.ProcessEnv | undefined;
}

/** What a VM on its way, or an image in the making, is doing. */
export interface Progress {
  onEvent(event: VmEvent): void;
  onBuildEvent(event: BuildEvent): void;
  onImportEvent(event: ImportEvent): void;
  /** Clears what is still on the line. To be called before anything else is written. */
  end(): void;
}

/** How often the time on the line is brought up to date, in ms. */
const tickMs = 100;

/** Shows progress: one line that is written over on a terminal, else a line for each step that takes its time. */
export function openProgress(target: ProgressTarget): Progress {
  if (target.quiet) {
    const nothing = (): void => undefined;
    return { onEvent: nothing, onBuildEvent: nothing, onImportEvent: nothing, end: nothing };
  }
  const lively = isLively(target.stream, target.env);
  const line = lively ? livelyLine(target) : plainLines(target);
  const onBuildEvent = (event: BuildEvent): void => {
    if (event.phase !== 'done') line.step(`image: ${event.message}`, amount(event));
  };
  return {
    onBuildEvent,
    onImportEvent: ({ phase, message, done, total }) => {
      if (phase === 'notice') line.note(message);
      else if (phase !== 'done') line.step(message, progressOf(done, total));
    },
    onEvent: (event) => {
      if (event.type === 'notice') line.note(event.message);
      else if (event.type === 'image') onBuildEvent(event.event);
      else if (event.phase === 'ready') line.end(`ready after ${duration(event.elapsedMs)}`);
      else if (lively || event.phase === 'start') line.step(event.message, '');
    },
    end: () => line.end(),
  };
}

interface Line {
  /** a step has begun, or gone on */
  step(text: string, amount: string): void;
  /** something to keep in sight */
  note(text: string): void;
  end(last?: string): void;
}

function plainLines({ stream }: ProgressTarget): Line {
  let shown = '';
  const write = (text: string): void => {
    if (text !== shown) stream.write(`polyvisor: ${text}\n`);
    shown = text;
  };
  return { step: (text) => write(text), note: write, end: (last) => last !== undefined && write(last) };
}

function livelyLine({ stream, env }: ProgressTarget): Line {
  const [dim, normal] = mayColour(stream, env) ? ['\u001B[2m', '\u001B[0m'] : ['', ''];
  const started = performance.now();
  let text: string | undefined;
  const clear = (): unknown => stream.write('\r\u001B[K');
  const draw = (): void => {
    if (text === undefined) return;
    const full = `polyvisor: ${text} (${duration(performance.now() - started)})`;
    // A line that wraps can't be written over.
    stream.write(`\r\u001B[K${dim}${full.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}${normal}`);
  };
  let timer: NodeJS.Timeout | undefined;
  return {
    step: (step, size) => {
      text = size === '' ? step : `${step} ${size}`;
      timer ??= setInterval(draw, tickMs).unref();
      draw();
    },
    note: (note) => {
      if (text !== undefined) clear();
      stream.write(`polyvisor: ${note}\n`);
      draw();
    },
    end: () => {
      clearInterval(timer);
      timer = undefined;
      if (text !== undefined) clear();
      text = undefined;
    },
  };
}

function amount({ phase, done, total }: BuildEvent): string {
  return phase === 'download' ? progressOf(done, total) : '';
}

function progressOf(done: number | undefined, total: number | undefined): string {
  if (done === undefined) return '';
  return total === undefined ? mebibytes(done) : `${mebibytes(done)} of ${mebibytes(total)}`;
}
