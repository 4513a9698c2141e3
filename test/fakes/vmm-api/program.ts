import path from 'node:path';
import { agentBinary } from '../../../src/config/package-files.ts';

/** What a fake VMM is told by its environment, which the launcher that a test writes sets: the keeper gives a VMM none. */
export interface FakeOptions {
  version: string;
  /** such as `PUT /vsock:die` (server.ts) */
  fault?: string | undefined;
  /** what else, by the names of the variables */
  env?: Readonly<Record<string, string>>;
}

/** Where the vendors' descriptions are looked for. */
export const specsFolder: string = process.env['POLYVISOR_SPECS'] ?? path.resolve('../shared/specs');

/** A shell script that is a fake VMM: it says its version at once, and runs a program in TypeScript for all else. */
export function fakeProgram(
  main: URL,
  versionLine: string,
  { version, fault = '', env: more = {} }: FakeOptions,
): string {
  const env = {
    ...more,
    PATH: '/usr/bin:/bin',
    FAKE_AGENT: agentBinary,
    FAKE_FAULT: fault,
    FAKE_VERSION: version,
    POLYVISOR_SPECS: specsFolder,
  };
  const words = [
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    process.execPath,
    '--import',
    import.meta.resolve('tsx'),
    main.pathname,
  ];
  return [
    '#!/bin/sh',
    `if [ "$1" = --version ]; then echo ${quoted(versionLine)}; exit 0; fi`,
    `exec /usr/bin/env ${words.map(quoted).join(' ')} "$@"`,
    '',
  ].join('\n');
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
