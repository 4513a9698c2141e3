import { VmError } from '../errors.ts';

/** Where a user wants to hear what is done; `console` is one. Facts hold no secrets: no environment, input, output or arguments. */
export interface Logger {
  debug(message: string, facts: LogFacts): void;
  info(message: string, facts: LogFacts): void;
  warn(message: string, facts: LogFacts): void;
  error(message: string, facts: LogFacts): void;
}

/** What a message is about. */
export type LogFacts = Readonly<Record<string, string | number | boolean | undefined>>;

/** What OpenTelemetry's tracer looks like from here. */
interface Spans {
  start(name: string, facts: LogFacts): OpenSpan;
  within<T>(name: string, facts: LogFacts, work: (span: OpenSpan) => Promise<T>): Promise<T>;
}

/** A span that has begun. */
interface OpenSpan {
  set(facts: LogFacts): void;
  end(error?: unknown): void;
}

/** The place where every copy of OpenTelemetry's API keeps what an application has registered (its `internal/global-utils`). */
const registered = Symbol.for('opentelemetry.js.api.1');

/** Tells the user's logger and tracer what is done with VMs. Without either it costs nothing. */
export class Telemetry {
  readonly #logger: Logger | undefined;
  readonly #spans: Spans | undefined;

  private constructor(logger: Logger | undefined, spans: Spans | undefined) {
    this.#logger = logger;
    this.#spans = spans;
  }

  /** Looks for OpenTelemetry only when the application has registered something with it. */
  static async open(logger: Logger | undefined): Promise<Telemetry> {
    return new Telemetry(logger, registered in globalThis ? await openSpans() : undefined);
  }

  log(level: keyof Logger, message: string, facts: LogFacts): void {
    try {
      this.#logger?.[level](message, facts);
    } catch (error) {
      // A logger that fails must not leave a VM half-made.
      process.emitWarning(`polyvisor: the logger has thrown: ${String(error)}`);
    }
  }

  /** Does work within a span, and logs how it went. */
  async span<T>(name: string, facts: LogFacts, work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const done = (level: keyof Logger, more: LogFacts): void =>
      this.log(level, name, { ...facts, durationMs: Math.round(performance.now() - began), ...more });
    try {
      const value = await (this.#spans === undefined
        ? work()
        : this.#spans.within(name, facts, async (span) => {
            try {
              const result = await work();
              span.end();
              return result;
            } catch (error) {
              span.end(error);
              throw error;
            }
          }));
      done('info', {});
      return value;
    } catch (error) {
      const { code, rawMessage } = VmError.from(error);
      done(code === 'ABORTED' ? 'info' : 'error', { code, error: rawMessage });
      throw error;
    }
  }

  /** Follows something that has begun: its span ends with it, and its end is logged. Nothing of it is taken or changed. */
  follow(name: string, facts: LogFacts, end: () => Promise<LogFacts>): void {
    if (this.#logger === undefined && this.#spans === undefined) return;
    const span = this.#spans?.start(name, facts);
    const followed = async (): Promise<void> => {
      try {
        const more = await end();
        span?.set(more);
        span?.end();
        this.log('debug', name, { ...facts, ...more });
      } catch (error) {
        // Whoever waits for it is told: here it is only noted.
        span?.end(error);
        const { code, rawMessage } = VmError.from(error);
        this.log('warn', name, { ...facts, code, error: rawMessage });
      }
    };
    void followed();
  }
}

/** The tracer of the application, by its own `@opentelemetry/api`; undefined when that can't be loaded from here. */
async function openSpans(): Promise<Spans | undefined> {
  const api = await import('@opentelemetry/api').catch(() => undefined);
  if (api === undefined) return undefined;
  const tracer = api.trace.getTracer('polyvisor');
  type Real = ReturnType<typeof tracer.startSpan>;
  const attributes = (facts: LogFacts): Record<string, string | number | boolean> =>
    Object.fromEntries(
      Object.entries(facts).flatMap(([key, value]) => (value === undefined ? [] : [[`polyvisor.${key}`, value]])),
    );
  const open = (span: Real): OpenSpan => ({
    set: (facts) => void span.setAttributes(attributes(facts)),
    end: (error) => {
      if (error !== undefined) {
        const { code, rawMessage } = VmError.from(error);
        span.setAttribute('polyvisor.code', code);
        span.setStatus({ code: api.SpanStatusCode.ERROR, message: rawMessage });
      }
      span.end();
    },
  });
  return {
    start: (name, facts) => open(tracer.startSpan(`polyvisor.${name}`, { attributes: attributes(facts) })),
    within: (name, facts, work) =>
      tracer.startActiveSpan(`polyvisor.${name}`, { attributes: attributes(facts) }, (span) => work(open(span))),
  };
}
