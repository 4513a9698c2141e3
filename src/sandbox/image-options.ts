import type { ExecOptions } from '../guest/agent.ts';
import type { RootConfig } from '../images/roots/root-image.ts';

/** The options of a command, with what the image says where they say nothing. A variable of the caller's replaces the image's. */
export function imageOptions(config: RootConfig | undefined, options: ExecOptions = {}): ExecOptions {
  if (config === undefined) return options;
  const { cwd = given(config.workdir), user = given(config.user), env } = options;
  return { ...options, cwd, user, env: { ...environment(config.env), ...env } };
}

function given(text: string): string | undefined {
  return text === '' ? undefined : text;
}

function environment(words: readonly string[]): Record<string, string> {
  const pairs = words.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]);
  return Object.fromEntries(pairs) as Record<string, string>;
}
