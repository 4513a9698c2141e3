import { VmError } from '../../errors.ts';

/** Which image of which registry is meant. */
export interface Reference {
  /** host and perhaps port, as it is written: `docker.io`, `localhost:5000` */
  registry: string;
  /** `library/python` */
  repository: string;
  /** a tag, or a digest */
  tag: string;
  digest: string | undefined;
}

const hub = 'docker.io';
const part = '[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*';
const pattern = new RegExp(
  `^(?:(?<registry>(?=[^/]*[.:])[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\\d{1,5})?|\\[[0-9a-f:]+\\](?::\\d+)?|localhost)/)?(?<repository>${part}(?:/${part})*)` +
    '(?::(?<tag>\\w[\\w.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$',
);
const maxLength = 255;

/**
 * Reads `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` as Docker does: without a registry Docker Hub is meant, without a tag `latest`.
 * @throws {VmError} INVALID_NAME
 */
export function parseReference(text: string): Reference {
  const groups = text.length > maxLength ? undefined : pattern.exec(text)?.groups;
  const { registry = hub, repository, tag = 'latest', digest } = groups ?? {};
  if (repository === undefined)
    throw new VmError('INVALID_NAME', `${JSON.stringify(text.slice(0, 80))} names no image of a registry`, {
      advice: 'Write [REGISTRY/]REPOSITORY[:TAG] or ...@sha256:DIGEST, such as ghcr.io/team/app:1.',
    });
  const full = registry === hub && !repository.includes('/') ? `library/${repository}` : repository;
  return { registry, repository: full, tag, digest };
}

/** Where a registry answers: by HTTPS, unless it is on this very host. @throws {VmError} INVALID_NAME */
export function registryUrl(registry: string): URL {
  const host = registry === hub ? 'registry-1.docker.io' : registry;
  try {
    const url = new URL(`https://${host}/`);
    if (isLoopback(url)) url.protocol = 'http:';
    // A port that is HTTPS's own is dropped by the parser.
    return isLoopback(url) ? new URL(`http://${host}/`) : url;
  } catch (cause) {
    throw new VmError('INVALID_NAME', `${JSON.stringify(registry)} is no registry`, { cause });
  }
}

/** Whether a host is this one: what goes there passes no network. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname);
}
