import { VmError } from '../../errors.ts';
import type { Credentials } from './credentials.ts';
import { failed, get, readBody, type Reply } from './http.ts';
import { isLoopback, type Reference, registryUrl } from './reference.ts';

/** How a registry is asked. */
export interface RegistryOptions {
  credentials: Credentials | undefined;
  signal?: AbortSignal | undefined;
  idleMs: number;
}

const maxTokenBytes = 1 << 20;
const maxErrorBytes = 64 << 10;

/** Reads a repository of a registry by the OCI distribution protocol, with basic authentication or a bearer's token. */
export class RegistryClient {
  readonly #reference: Reference;
  readonly #options: RegistryOptions;
  readonly #base: URL;
  #authorization: string | undefined;

  /** @throws {VmError} INVALID_NAME */
  constructor(reference: Reference, options: RegistryOptions) {
    this.#reference = reference;
    this.#options = options;
    this.#base = registryUrl(reference.registry);
  }

  /**
   * Asks for a manifest (by tag or digest) or a blob (by digest).
   * @throws {VmError} IMAGE_NOT_FOUND; IMAGE_PULL_FAILED when it refuses, is not reachable or says what it should not; TIMEOUT, ABORTED
   */
  async get(what: 'manifests' | 'blobs', id: string, accept: readonly string[] = []): Promise<Reply> {
    const url = new URL(`/v2/${this.#reference.repository}/${what}/${id}`, this.#base);
    const first = await this.#ask(url, accept);
    // Also in the midst of a pull: a token is good for some minutes, and layers may take longer.
    if (first.status !== 401) return this.#checked(first, id);
    this.#authorization = await this.#authorize(first);
    return this.#checked(await this.#ask(url, accept), id);
  }

  #ask(url: URL, accept: readonly string[]): Promise<Reply> {
    const headers: Record<string, string> = { 'user-agent': 'polyvisor' };
    if (accept.length > 0) headers['accept'] = accept.join(', ');
    if (this.#authorization !== undefined) headers['authorization'] = this.#authorization;
    return get(url, { ...this.#options, headers });
  }

  async #checked(reply: Reply, id: string): Promise<Reply> {
    const { status, url } = reply;
    if (status === 200) return reply;
    const { registry, repository } = this.#reference;
    const words = await this.#wordsOf(reply);
    if (status === 404)
      throw new VmError('IMAGE_NOT_FOUND', `${registry} has no ${repository} ${id}${words}`, {
        advice: 'Correct the name or the tag; some registries say so, too, when they want to know who asks.',
      });
    if (status === 401 || status === 403)
      throw new VmError('IMAGE_PULL_FAILED', `${registry} does not give ${repository} to us${words}`, {
        advice: '`docker login` writes down who asks, or `image pull` is told by --username and --password-stdin.',
      });
    throw failed(url, `answers with ${status}${words}`);
  }

  /** What a registry says of an error, for people. */
  async #wordsOf(reply: Reply): Promise<string> {
    try {
      const { errors } = JSON.parse(String(await readBody(reply, maxErrorBytes))) as { errors: { message: string }[] };
      const message = errors[0]?.message.replaceAll(/\p{C}/gu, ' ').slice(0, 200) ?? '';
      return message === '' ? '' : `: ${message}`;
    } catch {
      // The status says it as well.
      return '';
    } finally {
      reply.body.destroy();
    }
  }

  /** Answers the question who asks, as the registry wants it. */
  async #authorize(reply: Reply): Promise<string> {
    reply.body.destroy();
    const challenge = reply.headers['www-authenticate'] ?? '';
    const { credentials } = this.#options;
    const basic =
      credentials && `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
    if (/^basic\b/i.test(challenge)) {
      if (basic !== undefined) return basic;
      throw new VmError('IMAGE_PULL_FAILED', `${reply.url.host} wants to know who asks`, {
        advice: '`docker login` writes that down, or `image pull` is told by --username and --password-stdin.',
      });
    }
    if (!/^bearer\b/i.test(challenge))
      throw failed(reply.url, 'wants to know who asks in a way that is not known here');
    const said = new Map([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value]));
    const token = await this.#token(realmOf(said, reply.url), said, basic);
    return `Bearer ${token}`;
  }

  async #token(realm: URL, said: ReadonlyMap<string, string>, basic: string | undefined): Promise<string> {
    const service = said.get('service');
    if (service !== undefined) realm.searchParams.set('service', service);
    // What we need, whatever the registry asks us to ask for.
    realm.searchParams.set('scope', `repository:${this.#reference.repository}:pull`);
    const reply = await get(realm, {
      ...this.#options,
      headers: { 'user-agent': 'polyvisor', ...(basic === undefined ? {} : { authorization: basic }) },
    });
    const body = await readBody(reply, maxTokenBytes);
    if (reply.status !== 200) throw failed(realm, `gives no token: it answers with ${reply.status}`);
    const { token, access_token: other } = asRecord(body);
    const found = token ?? other;
    if (typeof found === 'string' && /^[\x21-\x7e]+$/.test(found)) return found;
    throw failed(realm, 'gives no token');
  }
}

/** Credentials go to a realm by HTTPS only, or to this very host. */
function realmOf(said: ReadonlyMap<string, string>, registry: URL): URL {
  const realm = parsed(said.get('realm'));
  const isSafe =
    realm?.protocol === 'https:' || (realm?.protocol === 'http:' && isLoopback(realm) && isLoopback(registry));
  if (realm === undefined || !isSafe) throw failed(registry, 'names no safe place that gives tokens');
  return realm;
}

function parsed(text: string | undefined): URL | undefined {
  try {
    return new URL(text ?? '');
  } catch {
    return undefined;
  }
}

function asRecord(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(String(body));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    // It holds no token then.
    return {};
  }
}
