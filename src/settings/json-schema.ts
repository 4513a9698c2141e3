import * as z from 'zod';
import { configFieldNames, configFields } from '../config/config-fields.ts';
import { schemaOfField } from '../config/schema.ts';
import { OWN_SECTION } from './own-file.ts';
import { type FileOption, heldOptions } from './own-options.ts';

/** The JSON Schema (draft 2020-12) of a file of our own, for editors. It is made from the same registry as all else. */
export function fileSchema(): Record<string, unknown> {
  const fields = configFieldNames.map((name) => {
    const { meaning, default: fallback, type } = configFields[name];
    const schema = schemaOfField(name);
    // In a file, parameters may be written as texts.
    const written = type.kind === 'params' ? z.union([schema, z.array(z.string())]).optional() : schema;
    return [name, written.meta({ description: meaning, ...(fallback === undefined ? {} : { default: fallback }) })];
  });
  const held = heldOptions.map((option) => [option.name, heldSchema(option).optional()]);
  const vm = z.strictObject(Object.fromEntries([...held, ...fields]) as Record<string, z.ZodType>);
  const file = z.strictObject({ [OWN_SECTION]: vm.optional() }).meta({ title: 'polyvisor.toml' });
  return z.toJSONSchema(file, { io: 'input' });
}

function heldSchema({ type, meaning }: FileOption): z.ZodType {
  if (type.kind === 'choice') return z.enum(type.values).meta({ description: meaning });
  if (type.kind === 'integer') return z.int().min(type.min).max(type.max).meta({ description: meaning });
  return z.string().meta({ description: meaning });
}
