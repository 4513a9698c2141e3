// The import table is the architecture: what each folder of src/ may import beside itself. Any other arrow fails.
const mayImport = {
  config: [],
  transports: ['config', 'state'],
  state: ['config'],
  confinement: ['config', 'state'],
  network: ['config', 'transports'],
  guest: ['config', 'transports'],
  images: ['config', 'state', 'transports'],
  hypervisors: ['confinement', 'config', 'state', 'transports'],
  factory: ['hypervisors', 'guest', 'images', 'config', 'state', 'transports'],
  toml: ['config'],
  kata: ['toml', 'hypervisors', 'config'],
  settings: ['kata', 'toml', 'hypervisors', 'config'],
  sandbox: ['factory', 'hypervisors', 'confinement', 'guest', 'network', 'images', 'config', 'state', 'transports'],
  shim: ['sandbox', 'config', 'transports'],
  console: ['sandbox', 'images', 'config'],
  cli: ['console', 'shim', 'settings', 'kata', 'sandbox', 'factory', 'images', 'confinement', 'state', 'config'],
};

const rows = Object.entries(mayImport).map(([layer, allowed]) => ({
  name: `${layer}-imports-only-its-row`,
  severity: 'error',
  from: { path: `^src/${layer}/` },
  to: { path: '^src/[^/]+/', pathNot: `^src/(${[layer, ...allowed].join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...rows,
    {
      name: 'every-folder-has-a-row',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: `^src/(${Object.keys(mayImport).join('|')})/` },
      to: {},
    },
    {
      name: 'errors-import-nothing-of-ours',
      severity: 'error',
      from: { path: '^src/errors\\.ts$' },
      to: { path: '^src/' },
    },
    {
      name: 'vmm-folders-are-islands',
      severity: 'error',
      from: { path: '^src/hypervisors/([^/]+)/' },
      to: { path: '^src/hypervisors/[^/]+/', pathNot: '^src/hypervisors/$1/' },
    },
    {
      name: 'only-the-registry-names-a-vmm',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/hypervisors/(registry\\.ts$|[^/]+/)' },
      to: { path: '^src/hypervisors/[^/]+/' },
    },
    {
      name: 'the-registry-uses-the-front-door',
      severity: 'error',
      from: { path: '^src/hypervisors/registry\\.ts$' },
      to: { path: '^src/hypervisors/[^/]+/', pathNot: '^src/hypervisors/[^/]+/index\\.ts$' },
    },
    { name: 'no-one-imports-the-barrel', severity: 'error', from: { path: '^src/' }, to: { path: '^src/index\\.ts$' } },
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'product-imports-only-the-product',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts|bin|guest)/' },
    },
    {
      name: 'no-dev-dependency-ships',
      severity: 'error',
      from: { path: '^src/' },
      // One that users may bring themselves is installed here for its types and tests.
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['npm-peer'] },
    },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
