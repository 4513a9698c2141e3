import { appendFileSync, symlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FirecrackerMetrics } from '../../../../src/hypervisors/firecracker/control-statistics.ts';
import { scratch } from '../../../fakes/programs.ts';

describe('the metrics file', () => {
  const at = scratch();
  const line = (bytes: number): string =>
    `${JSON.stringify({ utc_timestamp_ms: 1, block_d: { read_bytes: bytes, read_count: 1 }, net_n: { tx_bytes_count: 7 } })}\n`;

  it('is added up, however often it is read and wherever a line is cut', async () => {
    const file = at.write('metrics.json', line(1) + line(2).slice(0, 10));
    const metrics = new FirecrackerMetrics(file);
    await metrics.read();
    expect(metrics.disk('d', 'd')).toMatchObject({ readBytes: 1, readOperations: 1, writtenBytes: 0 });
    appendFileSync(file, line(2).slice(10) + line(4));
    await metrics.read();
    await metrics.read();
    expect(metrics.disk('d', 'd')).toMatchObject({ readBytes: 7, readOperations: 3 });
    expect(metrics.network('n', 'n')).toMatchObject({ sentBytes: 21, receivedBytes: 0 });
    expect(metrics.disk('other', 'other')).toMatchObject({ readBytes: 0 });
  });

  it('is not trusted', async () => {
    await expect(new FirecrackerMetrics(at.write('broken.json', 'no JSON\n')).read()).rejects.toMatchObject({
      code: 'VMM_FAILED',
    });
    await expect(
      new FirecrackerMetrics(at.write('endless.json', Buffer.alloc(5 * 2 ** 20, 120))).read(),
    ).rejects.toMatchObject({
      code: 'VMM_FAILED',
    });
    symlinkSync('/etc/passwd', at.file('link.json'));
    await expect(new FirecrackerMetrics(at.file('link.json')).read()).rejects.toMatchObject({ code: 'IO' });
  });
});
