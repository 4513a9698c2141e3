import { expect, it } from 'vitest';
import { parsePortSpec } from '../../../src/sandbox/port-spec.ts';

it.each([
  ['80', { guestPort: 80 }],
  ['8080:80', { hostPort: 8080, guestPort: 80 }],
  ['0:80', { hostPort: 0, guestPort: 80 }],
  ['0.0.0.0:8080:80', { hostAddress: '0.0.0.0', hostPort: 8080, guestPort: 80 }],
  ['[::1]:8080:80', { hostAddress: '::1', hostPort: 8080, guestPort: 80 }],
  ['/run/web.sock:80', { hostPath: '/run/web.sock', guestPort: 80 }],
  ['2375:/run/docker.sock', { hostPort: 2375, guestPath: '/run/docker.sock' }],
  ['/tmp/a:/run/b:c', { hostPath: '/tmp/a', guestPath: '/run/b:c' }],
])('%s', (text, options) => {
  expect(parsePortSpec(text)).toEqual(options);
});

it.each([
  '',
  ':',
  'web',
  '8080:web',
  '1:2:3:4',
  '127.0.0.1::80',
  '::1:8080:80',
  '127.0.0.1:/a:80',
  '-1',
  '80/tcp',
  '8080:',
])('%j is refused', (text) => {
  expect(() => parsePortSpec(text)).toThrow('INVALID_ARGUMENT');
});
