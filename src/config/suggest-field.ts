import { configFieldNames, configFields } from './config-fields.ts';
import { flatten, suggest } from './suggest.ts';

/** The config field someone probably meant: by Kata's names for it, by its beginning, or by a typing error. */
export function suggestField(key: string): string | undefined {
  const plain = flatten(key);
  const byKataName = configFieldNames.find((name) => {
    const { kataName, tomlKey } = configFields[name];
    return [kataName, tomlKey].some((other) => other !== undefined && flatten(other) === plain);
  });
  return byKataName ?? suggest(key, configFieldNames);
}
