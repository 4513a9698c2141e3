import { expect, it } from 'vitest';
import { commandOf, emptyConfig, type RootConfig } from '../../../src/images/roots/root-image.ts';
import { imageOptions } from '../../../src/sandbox/image-options.ts';

const config: RootConfig = {
  entrypoint: ['/entry', '-x'],
  cmd: ['serve'],
  env: ['A=1', 'B=x=y', 'EMPTY='],
  user: 'www',
  workdir: '/srv',
  labels: {},
};

it("gives a command the image's environment, user and working folder, unless the caller says otherwise", () => {
  const all = { A: '1', B: 'x=y', EMPTY: '' };
  expect(imageOptions(config)).toEqual({ cwd: '/srv', user: 'www', env: all });
  expect(imageOptions(config, { user: undefined, env: { A: '2', C: '3' }, check: true })).toEqual({
    cwd: '/srv',
    user: 'www',
    env: { ...all, A: '2', C: '3' },
    check: true,
  });
  expect(imageOptions(config, { user: 'root', cwd: '/' })).toMatchObject({ cwd: '/', user: 'root' });
  expect(imageOptions(emptyConfig)).toEqual({ env: {} });
  expect(imageOptions(undefined, { user: 'a' })).toEqual({ user: 'a' });
});

it('puts the entrypoint in front of the arguments, or of the command when there are none', () => {
  expect(commandOf(config, [])).toEqual(['/entry', '-x', 'serve']);
  expect(commandOf(config, ['a', '--b'])).toEqual(['/entry', '-x', 'a', '--b']);
  expect(commandOf(emptyConfig, [])).toEqual([]);
});
