import { VmError } from '../../errors.ts';
import { defaultImageName } from '../image.ts';

/** Names of registries with paths and tags are names of images as well: `python`, `debian:12`, `ghcr.io/team/app:v1`. */
const namePattern = /^[a-z0-9](?:[a-z0-9]|[._:/@-](?=[a-z0-9]))*$/i;
/** With each slash written as three bytes a file's name must hold it. */
const maxNameBytes = 200;

/**
 * Checks the name of a root image.
 * @throws {VmError} INVALID_NAME
 */
export function checkImageName(name: unknown): string {
  if (typeof name === 'string' && name.length <= maxNameBytes && namePattern.test(name) && name !== defaultImageName)
    return name;
  const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 80)) : typeof name;
  throw new VmError('INVALID_NAME', `${shown} is no name that an image may have`, {
    advice:
      name === defaultImageName
        ? 'That is the name of the default guest.'
        : `Use letters and digits, with . _ - : @ or / between them, at most ${maxNameBytes}.`,
  });
}

/** The name of the file in which an image of a name is described. */
export function manifestFileName(name: string): string {
  return `${encodeURIComponent(name)}.json`;
}

/** A reference as people say it: `docker.io/library/python:latest` is called python. */
export function shortName(reference: string): string {
  return reference.replace(/^(?:docker\.io\/library\/|docker\.io\/|localhost\/)/, '').replace(/:latest$/, '');
}
