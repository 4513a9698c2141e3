// Holds the tree to the architecture that CONTRIBUTING.md describes. Import directions are dependency-cruiser's
// (.dependency-cruiser.cjs); the rules here add what it cannot say, and that it really looked at every file.
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import extractConfig from 'dependency-cruiser/config-utl/extract-depcruise-config';
import extractTsConfig from 'dependency-cruiser/config-utl/extract-ts-config';
import { rules } from './arch/rules.ts';
import { readTree } from './arch/tree.ts';

const tree = readTree(process.cwd());
const problems = Object.entries(rules).flatMap(([rule, check]) => check(tree).map((problem) => `${rule}: ${problem}`));
const { modules, violations } = await cruiseSources();
problems.push(...violations);

// A parser that can't read TypeScript finds no modules, and nothing wrong with them either.
const sources = tree.files.filter((file) => /^src\/.*\.ts$/.test(file)).length;
if (modules < sources) problems.push(`modules-cruised: ${modules} of ${sources} files of src/ were looked at`);

for (const problem of problems) console.error(problem);
console.log(`${problems.length} problems in ${sources} source files (${modules} modules looked at)`);
process.exitCode = problems.length > 0 ? 1 : 0;

async function cruiseSources(): Promise<{ modules: number; violations: string[] }> {
  const config = await extractConfig(`${process.cwd()}/.dependency-cruiser.cjs`);
  const { output } = await cruise(['src'], { ...config.options, ruleSet: config, validate: true }, undefined, {
    tsConfig: extractTsConfig('tsconfig.json'),
  });
  const { modules: cruised, summary } = output as ICruiseResult;
  return {
    modules: cruised.filter((it) => it.source.startsWith('src/')).length,
    violations: summary.violations.map(({ rule, from, to, cycle }) => {
      const way = cycle === undefined ? to : cycle.map((it) => it.name).join(' -> ');
      return `${rule.name}: ${from} -> ${way}`;
    }),
  };
}
