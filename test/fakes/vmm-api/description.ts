import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';

/** As much of a JSON schema as the vendors' descriptions use. */
interface Schema {
  $ref?: string;
  type?: string;
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
}

interface Operation {
  parameters?: { in: string; required?: boolean; schema?: Schema }[];
  requestBody?: { required?: boolean; content: Record<string, { schema: Schema }> };
}

/** A description in the form of Swagger 2 or OpenAPI 3. */
interface Document {
  basePath?: string;
  servers?: { url: string }[];
  paths: Record<string, Record<string, Operation>>;
  definitions?: Record<string, Schema>;
  components?: { schemas: Record<string, Schema> };
}

/** A vendor's own description of its API: what a request may be. */
export class ApiDescription {
  readonly #document: Document;

  private constructor(document: Document) {
    this.#document = document;
  }

  /** The description of this name in a folder; undefined where it is missing. */
  static read(folder: string, name: string): ApiDescription | undefined {
    const file = path.join(folder, name);
    return existsSync(file) ? new ApiDescription(parse(readFileSync(file, 'utf8')) as Document) : undefined;
  }

  /** What a request has that the description does not allow; empty for one that it does. */
  problems(method: string, target: string, body: unknown): string[] {
    const { paths } = this.#document;
    const found = Object.entries(paths).find(([template]) => this.#matches(template, target))?.[1];
    const operation = found?.[method.toLowerCase()];
    if (operation === undefined) return [`${method} ${target} is not in the description`];
    const parameter = operation.parameters?.find((one) => one.in === 'body');
    const wanted = operation.requestBody?.content['application/json']?.schema ?? parameter?.schema;
    if (wanted === undefined) return body === undefined ? [] : ['a body, where none is described'];
    const isRequired = operation.requestBody?.required ?? parameter?.required ?? false;
    if (body === undefined) return isRequired ? ['no body'] : [];
    return this.#check(wanted, body, 'body');
  }

  #matches(template: string, target: string): boolean {
    const base = this.#document.basePath ?? new URL(this.#document.servers?.[0]?.url ?? 'http://localhost').pathname;
    const pattern = (base.replace(/\/$/, '') + template).replaceAll(/\{[^}]+\}/g, '[^/]+');
    return new RegExp(`^${pattern}$`).test(target);
  }

  #check(given: Schema, value: unknown, at: string): string[] {
    const schema = this.#resolve(given);
    if (schema.enum !== undefined && !schema.enum.includes(value))
      return [`${at}: ${JSON.stringify(value)} is not one of the values`];
    const type = Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
    const isWanted =
      schema.type === undefined || schema.type === type || (schema.type === 'number' && type === 'integer');
    if (!isWanted) return [`${at}: ${type} in place of ${schema.type}`];
    if (typeof value === 'number') {
      const { minimum = -Infinity, maximum = Infinity } = schema;
      return value >= minimum && value <= maximum ? [] : [`${at}: ${value} is out of its range`];
    }
    if (Array.isArray(value)) {
      const { items } = schema;
      return items === undefined ? [] : value.flatMap((item, index) => this.#check(items, item, `${at}[${index}]`));
    }
    return typeof value === 'object' && value !== null ? this.#checkObject(schema, value, at) : [];
  }

  #checkObject(schema: Schema, value: object, at: string): string[] {
    const missing = (schema.required ?? [])
      .filter((name) => !(name in value))
      .map((name) => `${at}.${name} is missing`);
    const others = schema.additionalProperties;
    const found = Object.entries(value).flatMap(([name, field]) => {
      const property = schema.properties?.[name] ?? (typeof others === 'object' ? others : undefined);
      if (property !== undefined) return this.#check(property, field, `${at}.${name}`);
      return others === true || schema.properties === undefined ? [] : [`${at}.${name} is not in the description`];
    });
    return [...missing, ...found];
  }

  #resolve(schema: Schema): Schema {
    if (schema.$ref === undefined) return schema;
    const name = schema.$ref.split('/').at(-1) ?? '';
    const { definitions, components } = this.#document;
    const found = (definitions ?? components?.schemas)?.[name];
    if (found === undefined) throw new Error(`the description lacks ${schema.$ref}`);
    return this.#resolve(found);
  }
}
