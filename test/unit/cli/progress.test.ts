import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openProgress, type Progress, type ProgressTarget } from '../../../src/cli/progress.ts';

const phase = (name: 'create' | 'start' | 'boot' | 'ready', elapsedMs = 0) =>
  ({ type: 'phase', phase: name, message: `${name} it`, elapsedMs }) as const;

function show(target: Partial<ProgressTarget> & { isTTY?: boolean }, act: (progress: Progress) => void): string {
  let written = '';
  const stream = { isTTY: target.isTTY ?? false, columns: 40, write: (text: string) => (written += text) };
  act(openProgress({ quiet: false, env: {}, ...target, stream }));
  return written;
}

describe('without a terminal', () => {
  it('writes a line for what takes time, and for when it is done', () => {
    const text = show({}, (progress) => {
      for (const event of [phase('create'), phase('start'), phase('boot'), phase('ready', 2940)])
        progress.onEvent(event);
      progress.end();
    });
    expect(text).toBe('polyvisor: start it\npolyvisor: ready after 2.9 s\n');
  });

  it('writes each step of an image once, whatever the number of reports', () => {
    const text = show({}, (progress) => {
      for (const done of [1, 2, 3])
        progress.onEvent({ type: 'image', event: { phase: 'download', message: 'kernel', done, total: 3 } });
      progress.onBuildEvent({ phase: 'store', message: 'storing' });
      progress.onBuildEvent({ phase: 'done', message: '/folder' });
    });
    expect(text).toBe('polyvisor: image: kernel\npolyvisor: image: storing\n');
  });

  it('is the same on a terminal that is dumb, or of a CI', () => {
    for (const env of [{ TERM: 'dumb' }, { CI: 'true' }]) {
      expect(show({ isTTY: true, env }, (progress) => progress.onEvent(phase('start')))).toBe('polyvisor: start it\n');
    }
  });
});

it('is silent when it is to be', () => {
  const text = show({ quiet: true, isTTY: true }, (progress) => {
    progress.onEvent(phase('start'));
    progress.onEvent({ type: 'notice', message: 'n' });
    progress.onBuildEvent({ phase: 'store', message: 'x' });
    progress.end();
  });
  expect(text).toBe('');
});

describe('on a terminal', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const env = { NO_COLOR: '1' };

  it('writes over one line, keeps the time on it, and leaves nothing', () => {
    const text = show({ isTTY: true, env }, (progress) => {
      progress.onEvent(phase('boot'));
      vi.advanceTimersByTime(200);
      progress.end();
      vi.advanceTimersByTime(1000);
    });
    expect(text).not.toContain('\n');
    expect(text.split('\r\u001B[K')).toEqual([
      '',
      'polyvisor: boot it (0 ms)',
      'polyvisor: boot it (100 ms)',
      'polyvisor: boot it (200 ms)',
      '',
    ]);
  });

  it('never wraps', () => {
    const text = show({ isTTY: true, env }, (progress) =>
      progress.onBuildEvent({ phase: 'store', message: 'x'.repeat(100) }),
    );
    expect(text.replace('\r\u001B[K', '')).toHaveLength(39);
  });

  it('keeps a notice in sight above the line', () => {
    const text = show({ isTTY: true, env }, (progress) => {
      progress.onEvent(phase('start'));
      progress.onEvent({ type: 'notice', message: 'no KVM' });
      progress.end();
    });
    expect(text).toContain('\r\u001B[Kpolyvisor: no KVM\n');
    expect(text.endsWith('\r\u001B[K')).toBe(true);
  });

  it('tells how much of a download is there', () => {
    const event = { phase: 'download', message: 'kernel', done: 2 ** 20, total: 2 ** 21 } as const;
    expect(show({ isTTY: true, env }, (progress) => progress.onBuildEvent(event))).toContain('kernel 1.0 MiB of 2.0');
  });

  it('colours unless it must not', () => {
    expect(show({ isTTY: true }, (progress) => progress.onEvent(phase('start')))).toContain('\u001B[2m');
    expect(show({ isTTY: true, env }, (progress) => progress.onEvent(phase('start')))).not.toContain('\u001B[2m');
  });
});
