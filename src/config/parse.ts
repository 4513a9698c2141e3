import type { ZodError } from 'zod';
import { VmError } from '../errors.ts';
import { assetTypes } from './asset-type.ts';
import { configFields } from './config-fields.ts';
import { allowedValues } from './describe-type.ts';
import { vmConfigSchema } from './schema.ts';
import { show } from './show.ts';
import { suggestField } from './suggest-field.ts';
import { suggest } from './suggest.ts';
import type { VmConfigInput } from './vm-config.ts';

type Issue = ZodError['issues'][number];

const MOST_PROBLEMS_TOLD = 5;

/**
 * Checks what a user wrote, field by field, and returns a copy of it. Rules across fields come with completeConfig.
 * @throws {VmError} INVALID_CONFIG naming each wrong field, what was given and what is allowed
 */
export function parseConfig(input: unknown): VmConfigInput {
  const result = safely(() => vmConfigSchema(input).safeParse(input));
  if (result.success) return result.data;
  const { issues } = result.error;
  const problems = issues.flatMap((issue) => explain(issue, input));
  const told = problems.slice(0, MOST_PROBLEMS_TOLD).map(({ message }) => message);
  if (problems.length > told.length) told.push(`and ${problems.length - told.length} more`);
  const field = problems[0]?.field;
  throw new VmError('INVALID_CONFIG', told.join('; '), field === undefined ? {} : { field });
}

// A proxy or a getter may throw anything while it is read.
function safely<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new VmError('INVALID_CONFIG', 'The configuration could not be read', { cause });
  }
}

interface Problem {
  readonly field?: string;
  readonly message: string;
}

function explain(issue: Issue, input: unknown): Problem[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(issue.path, key));
  if (issue.path.length === 0) {
    return [{ message: `The configuration must be an object with config fields, not ${show(input)}` }];
  }
  const field = pathText(issue.path);
  const info = configFields[issue.path[0] as keyof typeof configFields];
  const given = show(safely(() => valueAt(input, issue.path)));
  return [{ field, message: `${field} is ${given}, allowed is ${allowedValues(info)}` }];
}

function unknownKey(path: Issue['path'], key: string): Problem {
  const field = pathText([...path, key]);
  const near = path.length === 0 ? suggestField(key) : suggest(key, keysInside(path));
  const hint = near === undefined ? '' : `; did you mean ${pathText([...path, near])}?`;
  return { field, message: `${field} is not a config field${hint}` };
}

function keysInside(path: Issue['path']): readonly string[] {
  if (path[0] !== 'customAssets') return ['key', 'value'];
  return path.length === 1 ? assetTypes : ['path', 'sha512'];
}

/** `kernelParams[2].key`, without control characters and not longer than 80 characters. */
function pathText(path: Issue['path']): string {
  const text = path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at === 0 ? '' : '.'}${String(part)}`))
    .join('')
    .replaceAll(/\p{C}/gu, '?');
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function valueAt(input: unknown, path: Issue['path']): unknown {
  return path.reduce<unknown>((value, part) => (value as Record<PropertyKey, unknown> | undefined)?.[part], input);
}
