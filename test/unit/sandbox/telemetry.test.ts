import { context, type Span, type SpanOptions, trace, type Tracer } from '@opentelemetry/api';
import { afterEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../../src/sandbox/telemetry.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { failure } from '../../fakes/failure.ts';

interface Recorded {
  name: string;
  attributes: Record<string, unknown>;
  ended: boolean;
  failed?: string | undefined;
}

/** A tracer that remembers its spans: what an application's SDK does. */
function recordSpans(): Recorded[] {
  const spans: Recorded[] = [];
  const start = (name: string, options: SpanOptions = {}): Span => {
    const span: Recorded = { name, attributes: { ...options.attributes }, ended: false };
    spans.push(span);
    const real = {
      setAttribute: (key: string, value: unknown) => void (span.attributes[key] = value),
      setAttributes: (more: object) => void Object.assign(span.attributes, more),
      setStatus: ({ message }: { message?: string }) => void (span.failed = message),
      end: () => void (span.ended = true),
    };
    return real as unknown as Span;
  };
  const tracer = {
    startSpan: start,
    startActiveSpan: (name: string, options: SpanOptions, work: (span: Span) => unknown) => work(start(name, options)),
  };
  trace.setGlobalTracerProvider({ getTracer: () => tracer as unknown as Tracer });
  return spans;
}

afterEach(() => {
  trace.disable();
  context.disable();
});

describe('spans', () => {
  it('of create, exec and stop, with what they were about and without secrets', async () => {
    const spans = recordSpans();
    const vm = await Vm.create({ hypervisor: 'mock', name: 'traced' });
    try {
      await vm.exec(['sh', '-c', 'echo $TOKEN', 'secret-argument'], {
        env: { TOKEN: 'secret-variable' },
        stdin: 'secret-input',
      });
      await vm.exec('exit 3 # secret-text');
      await vm.stop();
    } finally {
      await vm.remove();
    }
    expect(spans.map(({ name }) => name)).toEqual([
      'polyvisor.create',
      'polyvisor.exec',
      'polyvisor.exec',
      'polyvisor.stop',
    ]);
    expect(spans.every(({ ended }) => ended)).toBe(true);
    expect(spans[0]?.attributes).toEqual({ 'polyvisor.vm': 'traced', 'polyvisor.hypervisor': 'mock' });
    expect(spans[1]?.attributes).toMatchObject({ 'polyvisor.program': 'sh', 'polyvisor.exitCode': 0 });
    expect(spans[2]?.attributes).toMatchObject({ 'polyvisor.exitCode': 3 });
    expect(JSON.stringify(spans)).not.toContain('secret');
  });

  it('of what fails carry the code', async () => {
    const spans = recordSpans();
    const hypervisorParams = [{ key: 'fail', value: 'start' }];
    await failure(Vm.create({ hypervisor: 'mock', name: 'traced', hypervisorParams }));
    expect(spans).toMatchObject([
      { name: 'polyvisor.create', ended: true, attributes: { 'polyvisor.code': 'VMM_FAILED' } },
    ]);
    expect(spans[0]?.failed).toContain('told to fail');
  });
});

describe('a logger', () => {
  const recorder = (): { lines: [level: string, message: string, facts: unknown][]; logger: Logger } => {
    const lines: [level: string, message: string, facts: unknown][] = [];
    const write = (level: string) => (message: string, facts: unknown) => void lines.push([level, message, facts]);
    return {
      lines,
      logger: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
    };
  };

  it('hears what is done, with facts; console would do', async () => {
    const { lines, logger } = recorder();
    const like: Logger = console;
    expect(like).toBe(console);
    const vm = await Vm.create({ hypervisor: 'mock', name: 'logged', logger });
    await vm.exec(['true']);
    await vm.stop();
    await vm.remove();
    expect(lines.map(([level, message]) => `${level} ${message}`)).toEqual(['info create', 'debug exec', 'info stop']);
    expect(lines[0]?.[2]).toMatchObject({ vm: 'logged', hypervisor: 'mock', durationMs: expect.any(Number) as number });
    expect(lines[1]?.[2]).toMatchObject({ vm: 'logged', program: 'true', exitCode: 0 });
  });

  it('hears failures, and one that throws itself spoils nothing', async () => {
    const { lines, logger } = recorder();
    const hypervisorParams = [{ key: 'fail', value: 'start' }];
    await failure(Vm.create({ hypervisor: 'mock', name: 'logged', logger, hypervisorParams }));
    expect(lines).toMatchObject([['error', 'create', { code: 'VMM_FAILED' }]]);
    const bad = (): never => {
      throw new Error('a mistake of the user');
    };
    const vm = await Vm.create({ hypervisor: 'mock', logger: { debug: bad, info: bad, warn: bad, error: bad } });
    await vm.exec(['true'], { check: true });
    await vm.remove();
  });

  it('that is none is refused', async () => {
    const logger = { info: () => undefined } as unknown as Logger;
    const error = await failure(Vm.create({ hypervisor: 'mock', logger }));
    expect([error.code, error.facts.field]).toEqual(['INVALID_ARGUMENT', 'logger']);
  });
});
