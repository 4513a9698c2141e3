/** Where the value of an option comes from. */
export type Origin =
  | { readonly kind: 'default'; /** whose default it is, when not the general one */ readonly of?: string }
  | { readonly kind: 'file'; readonly file: string; readonly line: number; readonly key: string }
  | { readonly kind: 'annotation'; readonly name: string }
  | { readonly kind: 'environment'; readonly name: string }
  | { readonly kind: 'flag'; readonly name: string };

/** Origins by the name of the option. */
export type Origins = ReadonlyMap<string, Origin>;

/** An origin in words: `default`, `/etc/polyvisor/polyvisor.toml:3`, `annotation default_vcpus`. */
export function originText(origin: Origin): string {
  switch (origin.kind) {
    case 'default':
      return origin.of === undefined ? 'default' : `default of ${origin.of}`;
    case 'file':
      return `${origin.file}:${origin.line}`;
    case 'annotation':
    case 'environment':
    case 'flag':
      return `${origin.kind} ${origin.name}`;
  }
  return origin satisfies never;
}
