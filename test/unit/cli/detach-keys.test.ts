import { describe, expect, it } from 'vitest';
import { DetachKeys, parseDetachKeys } from '../../../src/cli/detach-keys.ts';

describe('keys in docker’s writing', () => {
  it.each([
    ['ctrl-p,ctrl-q', [0x10, 0x11]],
    ['ctrl-],d', [0x1d, 0x64]],
    ['Ctrl-A', [0x01]],
    ['ctrl-@', [0x00]],
    ['q', [0x71]],
  ])('%s', (text, bytes) => expect([...parseDetachKeys(text)]).toEqual(bytes));

  it.each(['', 'ctrl-', 'ctrl-é', 'escape', 'a,,b', 'ctrl-1'])('%j is refused', (text) => {
    expect(() => parseDetachKeys(text)).toThrow('Write keys such as');
  });
});

/** Types the pieces one after the other, and tells what was sent on. */
function typed(keys: string, ...pieces: string[]): { sent: string; detached: boolean } {
  const looked = new DetachKeys(parseDetachKeys(keys));
  let sent = '';
  for (const piece of pieces) {
    const { send, detach } = looked.take(Buffer.from(piece));
    sent += send.toString();
    if (detach) return { sent, detached: true };
  }
  return { sent, detached: false };
}

describe('what is typed', () => {
  it('goes through, until the keys come: they and what follows do not', () => {
    expect(typed('ctrl-p,ctrl-q', 'ls\r', 'x\u0010\u0011y')).toEqual({ sent: 'ls\rx', detached: true });
    expect(typed('ctrl-p,ctrl-q', 'a\u0010', '\u0011')).toEqual({ sent: 'a', detached: true });
  });

  it('is held back only while it may be the beginning of the keys', () => {
    expect(typed('ctrl-p,ctrl-q', 'a\u0010')).toEqual({ sent: 'a', detached: false });
    expect(typed('ctrl-p,ctrl-q', 'a\u0010', 'b')).toEqual({ sent: 'a\u0010b', detached: false });
    expect(typed('ctrl-p,ctrl-q', '\u0010\u0010', '\u0011')).toEqual({ sent: '\u0010', detached: true });
  });

  it('finds keys that begin again inside themselves', () => {
    expect(typed('a,a,b', 'aaab')).toEqual({ sent: 'a', detached: true });
    expect(typed('a,b,a,c', 'ababac')).toEqual({ sent: 'ab', detached: true });
    expect(typed('a,b', 'acab')).toEqual({ sent: 'ac', detached: true });
  });
});
