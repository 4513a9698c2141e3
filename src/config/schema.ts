import * as z from 'zod';
import { assetTypes, type CustomAsset, type CustomAssets } from './asset-type.ts';
import { configFieldNames, configFields } from './config-fields.ts';
import type { FieldType, TextType } from './field-info.ts';
import type { Param } from './kernel-params.ts';
import { MAX_LIST_ENTRIES, MAX_PATH_LENGTH, MAX_VALUE_LENGTH } from './limits.ts';
import type { ConfigField, VmConfigInput } from './vm-config.ts';

// What loads zod is loaded late: a command that needs no config starts without it.

const noControlCharacters = /^\P{Cc}*$/u;

const absolutePath: z.ZodType<string> = z.string().max(MAX_PATH_LENGTH).regex(/^\//).regex(noControlCharacters);

function customAssets(): z.ZodType<CustomAssets> {
  const sha512 = z.string().regex(/^[0-9a-fA-F]{128}$/);
  const asset: z.ZodType<CustomAsset> = z.strictObject({ path: absolutePath, sha512: sha512.optional() });
  return z.strictObject(Object.fromEntries(assetTypes.map((type) => [type, asset.optional()])));
}

function param(emptyKey: boolean): z.ZodType<Param> {
  const part = z.string().max(MAX_VALUE_LENGTH).regex(noControlCharacters);
  return z.strictObject({ key: emptyKey ? part : part.min(1), value: part });
}

function textOf(type: TextType): z.ZodType<string> {
  return z.string().regex(type.pattern);
}

function schemaOf(type: FieldType): z.ZodType {
  switch (type.kind) {
    case 'flag':
      return z.boolean();
    case 'integer':
      return z.int().min(type.min).max(type.max);
    case 'text':
      return textOf(type);
    case 'path':
      return absolutePath;
    case 'choice':
      return z.enum(type.values);
    case 'list':
      return z.array(type.of.kind === 'path' ? absolutePath : textOf(type.of)).max(MAX_LIST_ENTRIES);
    case 'params':
      return z.array(param(type.emptyKey)).max(MAX_LIST_ENTRIES);
    case 'assets':
      return customAssets();
  }
  return type satisfies never;
}

const known = new Map<ConfigField, z.ZodType>();

/** The schema of one field; it may be absent. */
export function schemaOfField(name: ConfigField): z.ZodType {
  const schema = known.get(name) ?? schemaOf(configFields[name].type).optional();
  known.set(name, schema);
  return schema;
}

/**
 * The schema of what a user wrote: each field optional, unknown keys refused. Made from the registry of fields, and only of those
 * that the input has: to make all of them takes most of the time that a short command has.
 */
export function vmConfigSchema(input: unknown): z.ZodType<VmConfigInput> {
  const given = typeof input === 'object' && input !== null ? input : {};
  const names = configFieldNames.filter((name) => name in given);
  return z.strictObject(Object.fromEntries(names.map((name) => [name, schemaOfField(name)])));
}
