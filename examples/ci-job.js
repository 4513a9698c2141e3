// A CI job: copies a project into a fresh VM, runs its steps, copies the results out, and ends with the job's exit code.
//
//   node examples/ci-job.js [FOLDER [RESULTS]]
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Vm } from 'polyvisor';

const project = path.resolve(process.argv[2] ?? import.meta.dirname);
const results = path.resolve(process.argv[3] ?? (await mkdtemp(path.join(tmpdir(), 'ci-results-'))));

const steps = [
  { name: 'count', run: 'mkdir -p out && wc -l *.js | tee out/lines.txt' },
  { name: 'pack', run: 'tar -czf out/sources.tar.gz *.js' },
  { name: 'check', run: 'grep -L "from \'polyvisor\'" *.js > out/strangers.txt; test ! -s out/strangers.txt' },
];

const vm = await Vm.create({ vcpus: 2, memoryMiB: 512 });
try {
  // What is in the folder, into one that is made in the guest.
  await vm.exec(['mkdir', '/job'], { check: true });
  await vm.copyIn(`${project}/.`, '/job');

  for (const { name, run } of steps) {
    const step = vm.exec(run, { cwd: '/job', env: { CI: 'true' }, timeoutMs: 60_000 });
    for await (const { stream, data } of step) process[stream].write(data);
    const { exitCode } = await step.exited;
    console.log(`step ${name}: ${exitCode === 0 ? 'ok' : `failed with ${exitCode}`}`);
    if (exitCode === 0) continue;
    process.exitCode = exitCode;
    break;
  }

  await vm.copyOut('/job/out/.', results);
  console.log(`results in ${results}: ${(await readdir(results)).toSorted().join(', ')}`);
} finally {
  await vm.remove();
}
