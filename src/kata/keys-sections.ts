import type { KeyNote, KataVersion } from './report.ts';

const none = (reason: string, only?: KataVersion): KeyNote => ({
  outcome: 'no-meaning',
  reason,
  ...(only === undefined ? {} : { only }),
});
const unsupported = (reason: string, only?: KataVersion): KeyNote => ({
  ...none(reason, only),
  outcome: 'unsupported',
});

const containers = 'it is about containers, which polyvisor does not run';
const ownAgent = "polyvisor's guests have an agent of its own";
const tracing = 'tracing is what the application sets up with OpenTelemetry';
const noProgram = 'polyvisor needs no such program beside the VMM';

/** What a section of Kata's file is to us when a key of it is not listed by itself. */
interface Section {
  readonly rest: KeyNote;
  readonly keys: ReadonlyMap<string, KeyNote>;
}

const runtimeKeys = new Map<string, KeyNote>([
  ['enable_debug', none('the library logs through `logger`')],
  ['enable_tracing', none(tracing)],
  ['jaeger_endpoint', none(tracing, 'today')],
  ['jaeger_user', none(tracing, 'today')],
  ['jaeger_password', none(tracing, 'today')],
  ['internetworking_model', unsupported('the VMM is started in `networkNamespace`; devices are attached one by one')],
  ['disable_new_netns', none('a VMM stays in the network namespace of its user unless `networkNamespace` is set')],
  ['enable_vcpus_pinning', unsupported('vCPUs are pinned one by one, with Vm.pinVcpus', 'today')],
  ['sandbox_cgroup_only', none('`confinement` says how a VMM is confined')],
  ['static_sandbox_resource_mgmt', none('a VM has the size that it was made with until it is resized', 'today')],
  ['enable_pprof', none('it is for developers of Kata', 'today')],
  ['vfio_mode', unsupported('a device is handed through as it is', 'today')],
  ['pod_resource_api_sock', none(containers, 'today')],
  ['enable_agent_pidns', none(containers, '1.x')],
]);

const agentKeys = new Map<string, KeyNote>([
  ['kernel_modules', unsupported('the guest loads the drivers of its devices by itself')],
  ['debug_console_enabled', none('`polyvisor shell` and `polyvisor console` are always there', 'today')],
  ['enable_tracing', none(tracing)],
  ['trace_mode', none(tracing, '1.x')],
  ['trace_type', none(tracing, '1.x')],
  ['dial_timeout', none(ownAgent, 'today')],
  ['dial_timeout_ms', none('the agent is not dialled again and again: it says hello once', 'today')],
  ['reconnect_timeout_ms', none('the agent is not dialled again and again: it says hello once', 'today')],
  ['cdh_api_timeout', none(ownAgent, 'today')],
  ['cdh_api_timeout_ms', none(ownAgent, 'today')],
  ['launch_process_timeout', none(ownAgent, 'today')],
  ['container_pipe_size', none(containers)],
]);

/** Sections beside `[hypervisor.X]` and `[factory]`, by their first name. */
const sections: ReadonlyMap<string, Section> = new Map<string, Section>([
  ['runtime', { rest: none(containers), keys: runtimeKeys }],
  ['agent', { rest: none(ownAgent), keys: agentKeys }],
  ['proxy', { rest: none(noProgram, '1.x'), keys: new Map() }],
  ['shim', { rest: none(noProgram, '1.x'), keys: new Map() }],
  ['netmon', { rest: none(noProgram, '1.x'), keys: new Map() }],
]);

/** The note for a key outside `[hypervisor.X]` and `[factory]`; undefined when it is none of Kata's. */
export function sectionNote([section = '', ...rest]: readonly string[]): KeyNote | undefined {
  const known = sections.get(section);
  return known?.keys.get(rest.at(-1) ?? '') ?? known?.rest;
}

/** Whether Kata's configuration has a section of this name. */
export function isKataSection(name: string): boolean {
  return name === 'hypervisor' || name === 'factory' || sections.has(name);
}
