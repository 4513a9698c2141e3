/** Where the value of an option comes from. */
export type Origin =
  | { readonly kind: 'default'; /** whose default it is, when not the general one */ readonly of?: string }
  | { readonly kind: 'file'; readonly file: string; readonly line: number; readonly key: string }
  | { readonly kind: 'annotation'; readonly name: string; /** what it was added to */ readonly after?: Origin }
  | { readonly kind: 'environment'; readonly name: string }
  | { readonly kind: 'flag'; readonly name: string; /** what it was added to */ readonly after?: Origin };

/** Origins by the name of the option. */
export type Origins = ReadonlyMap<string, Origin>;

/** An origin in words: `default`, `/etc/polyvisor/polyvisor.toml:3`, `annotation default_vcpus`. */
export function originText(origin: Origin): string {
  switch (origin.kind) {
    case 'default':
      return origin.of === undefined ? 'default' : `default of ${origin.of}`;
    case 'file':
      return `${origin.file}:${origin.line}`;
    case 'environment':
      return `environment ${origin.name}`;
    case 'annotation':
    case 'flag': {
      const { kind, name, after } = origin;
      return after === undefined ? `${kind} ${name}` : `${originText(after)} and ${kind} ${name}`;
    }
  }
  return origin satisfies never;
}

/** The origins of options where the later ones win; kernel parameters alone are added to those that there are. */
export function laterOrigins(before: Origins, later: Origins): Map<string, Origin> {
  const merged = new Map([...before, ...later]);
  const [params, after] = [later.get('kernelParams'), before.get('kernelParams')];
  if (after !== undefined && (params?.kind === 'annotation' || params?.kind === 'flag'))
    merged.set('kernelParams', { ...params, after });
  return merged;
}
