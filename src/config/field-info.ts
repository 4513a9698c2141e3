import type { Param } from './kernel-params.ts';

/** true or false. */
export interface FlagType {
  readonly kind: 'flag';
}
/** A whole number in a range, both ends included. */
export interface IntegerType {
  readonly kind: 'integer';
  readonly min: number;
  readonly max: number;
}
/** Text that matches a pattern. */
export interface TextType {
  readonly kind: 'text';
  readonly pattern: RegExp;
  /** The pattern in words. */
  readonly rule: string;
}
/** An absolute path. */
export interface PathType {
  readonly kind: 'path';
}
/** One of a few words. */
export interface ChoiceType<T extends string = string> {
  readonly kind: 'choice';
  readonly values: readonly T[];
}
/** A list of texts or paths. */
export interface ListType {
  readonly kind: 'list';
  readonly of: TextType | PathType;
}
/** A list of `{ key, value }`. */
export interface ParamsType {
  readonly kind: 'params';
  /** Whether the key may be empty, so that only the value is passed on. */
  readonly emptyKey: boolean;
}
/** Custom assets by type. */
export interface AssetsType {
  readonly kind: 'assets';
}

/** What values a field takes, as data: the schema, the messages and the docs are made from it. */
export type FieldType = FlagType | IntegerType | TextType | PathType | ChoiceType | ListType | ParamsType | AssetsType;

/** The field types that fit a TypeScript type. */
type TypeFor<T> = [T] extends [boolean]
  ? FlagType
  : [T] extends [number]
    ? IntegerType
    : [T] extends [string]
      ? string extends T
        ? TextType | PathType
        : ChoiceType<T>
      : [T] extends [readonly Param[]]
        ? ParamsType
        : [T] extends [readonly string[]]
          ? ListType
          : AssetsType;

/** What is known of a field. `T` is the type of its value. */
export interface FieldSpec<T> {
  /** Name in virtcontainers' HypervisorConfig; absent for a field that is ours alone. */
  readonly kataName?: string;
  /** Key in Kata's configuration.toml; absent where there is none. */
  readonly tomlKey?: string;
  readonly type: TypeFor<T>;
  readonly unit?: string;
  /** Value when neither the user nor the VMM has one. */
  readonly default?: T;
  /** Says the default where it is no constant. */
  readonly defaultNote?: string;
  readonly meaning: string;
}

/** A spec for each field of a group. */
export type FieldSpecs<T> = { readonly [K in keyof T]-?: FieldSpec<Exclude<T[K], undefined>> };

/** A spec of the registry, whatever the type of its value. */
export interface FieldInfo {
  readonly name: string;
  /** Heading of the group of fields it belongs to. */
  readonly group: string;
  readonly kataName?: string;
  readonly tomlKey?: string;
  readonly type: FieldType;
  readonly unit?: string;
  readonly default?: unknown;
  readonly defaultNote?: string;
  readonly meaning: string;
}

const UINT32_MAX = 4_294_967_295;

export const flag: FlagType = { kind: 'flag' };
export const path: PathType = { kind: 'path' };
export const paths: ListType = { kind: 'list', of: path };

/** A whole number of at least `min` (never 0: absent means the default). */
export function integer(min: number, max: number = UINT32_MAX): IntegerType {
  return { kind: 'integer', min, max };
}

/** Text matching a pattern; `rule` says the pattern in words. */
export function text(pattern: RegExp, rule: string): TextType {
  return { kind: 'text', pattern, rule };
}

/** One of some words. */
export function choice<T extends string>(...values: T[]): ChoiceType<T> {
  return { kind: 'choice', values };
}
