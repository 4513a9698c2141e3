import { rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import { agentBinary } from '../../src/config/package-files.ts';
import { deserializeParams } from '../../src/config/kernel-params.ts';
import { judgeKvm } from '../../src/hypervisors/accel.ts';
import { loadDriver } from '../../src/hypervisors/registry.ts';
import { findImage } from '../../src/images/store.ts';
import { tryKvm } from '../../src/sandbox/kvm-trial.ts';
import { places } from '../../src/state/paths.ts';

it('settles by a boot whether KVM runs guests here, and remembers it', async () => {
  const [at, host, module] = [places(), await readHostFacts(), await loadDriver('qemu')];
  // The guest is the user's; the verdict is this test's own.
  const own = { ...at, verdicts: `${at.state}/verdicts` };
  const image = await findImage(at.images, 'default', agentBinary);
  if (image === undefined) throw new Error('vm-global-setup.ts should have built the default guest');
  const { kernel, initrd, manifest } = image;
  const input = { kernel, initrd, kernelParams: deserializeParams(manifest.commandLine) };
  const config = completeConfig(input, { fields: module.fields, host });

  const verdict = await tryKvm({ at: own, host, module, config }, {});
  const seen = await judgeKvm(host);
  if (seen.state !== 'doubtful') expect(verdict.state).toBe(seen.state);

  const began = performance.now();
  expect(await tryKvm({ at: own, host, module, config }, {})).toEqual(verdict);
  expect(performance.now() - began).toBeLessThan(1000);
  await rm(own.verdicts, { recursive: true });
});
