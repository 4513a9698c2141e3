// What a command was asked for goes to stdout through here; everything else goes to stderr.

/** Writes a line on stdout. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Writes data on stdout, as JSON that people can read too. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

/** Whether colours and rewritten lines suit what reads this stream. */
export function isLively(stream: { isTTY?: boolean | undefined }, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && env['TERM'] !== 'dumb' && !isSet(env['CI']);
}

/** Whether this stream may be coloured (https://no-color.org). */
export function mayColour(stream: { isTTY?: boolean | undefined }, env: NodeJS.ProcessEnv = process.env): boolean {
  return isLively(stream, env) && !isSet(env['NO_COLOR']);
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}
