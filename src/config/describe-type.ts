import { assetTypes } from './asset-type.ts';
import type { FieldInfo, FieldType } from './field-info.ts';

const UINT32_MAX = 4_294_967_295;

/** What a field takes, in words: `a whole number from 1 to 5`. For messages. */
export function allowedValues({ type, unit }: Pick<FieldInfo, 'type' | 'unit'>): string {
  const words = inWords(type);
  return unit === undefined ? words : `${words} (${unit})`;
}

function inWords(type: FieldType): string {
  switch (type.kind) {
    case 'flag':
      return 'true or false';
    case 'integer':
      return type.max === UINT32_MAX
        ? `a whole number of at least ${type.min}`
        : `a whole number from ${type.min} to ${type.max}`;
    case 'text':
      return type.rule;
    case 'path':
      return 'an absolute path';
    case 'choice':
      return `one of ${type.values.join(', ')}`;
    case 'list':
      return `a list, each entry ${inWords(type.of)}`;
    case 'params':
      return `a list of { key, value }, both text without control characters${type.emptyKey ? '' : ', the key not empty'}`;
    case 'assets':
      return `{ path, sha512? } for any of ${assetTypes.join(', ')}; path absolute, sha512 128 hexadecimal digits`;
  }
  return type satisfies never;
}

/** The type of a field in a word or two, for tables. */
export function typeName(type: FieldType): string {
  switch (type.kind) {
    case 'flag':
      return 'flag';
    case 'integer':
      return type.max === UINT32_MAX ? `integer >= ${type.min}` : `integer ${type.min}..${type.max}`;
    case 'text':
      return 'text';
    case 'path':
      return 'path';
    case 'choice':
      return type.values.map((value) => `\`${value}\``).join(', ');
    case 'list':
      return `list of ${type.of.kind}s`;
    case 'params':
      return 'list of { key, value }';
    case 'assets':
      return 'assets by type';
  }
  return type satisfies never;
}
