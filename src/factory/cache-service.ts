import type { PackageDefinition } from '@grpc/proto-loader';
import type * as Grpc from '@grpc/grpc-js';

/*
 * The cache's service: virtcontainers' methods and messages (protocols/cache/cache.proto), in a descriptor of our own.
 */

/** JSON of what the VMs are; the second is kept for virtcontainers' agents and empty. */
export interface GrpcVmConfig {
  Data: Uint8Array;
  AgentConfig: Uint8Array;
}

/** A VM that is handed over. */
export interface GrpcVm {
  id: string;
  /** what its driver's toGrpc gave */
  hypervisor: Uint8Array;
  /** of virtcontainers' proxies, which our agent does without */
  proxyPid: number;
  proxyURL: string;
  cpu: number;
  /** in MiB */
  memory: number;
  cpuDelta: number;
}

/** The server's process, and the VMs that stand ready. */
export interface GrpcStatus {
  pid: number;
  vmstatus: { pid: number; cpu: number; memory: number }[];
}

interface Field {
  type: string;
  id: number;
  rule?: 'repeated';
}

const message = (fields: Record<string, Field>): object => ({ fields });
const field = (type: string, id: number): Field => ({ type, id });
const method = (responseType: string): object => ({ requestType: 'Empty', responseType });

const descriptor = {
  nested: {
    cache: {
      nested: {
        Empty: message({}),
        GrpcVMConfig: message({ Data: field('bytes', 1), AgentConfig: field('bytes', 2) }),
        GrpcVM: message({
          id: field('string', 1),
          hypervisor: field('bytes', 2),
          proxyPid: field('int64', 3),
          proxyURL: field('string', 4),
          cpu: field('uint32', 5),
          memory: field('uint32', 6),
          cpuDelta: field('uint32', 7),
        }),
        GrpcVMStatus: message({ pid: field('int64', 1), cpu: field('uint32', 2), memory: field('uint32', 3) }),
        GrpcStatus: message({
          pid: field('int64', 1),
          vmstatus: { ...field('GrpcVMStatus', 2), rule: 'repeated' },
        }),
        CacheService: {
          methods: {
            Config: method('GrpcVMConfig'),
            GetBaseVM: method('GrpcVM'),
            Status: method('GrpcStatus'),
            Quit: method('Empty'),
          },
        },
      },
    },
  },
};

/** gRPC and the service, loaded when they are first needed: they take a tenth of a second. */
export async function loadService(): Promise<{
  grpc: typeof Grpc;
  service: Grpc.ServiceDefinition;
  Client: Grpc.ServiceClientConstructor;
}> {
  const [grpc, { fromJSON }] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')]);
  // Process ids fit into numbers.
  const loaded: PackageDefinition = fromJSON(descriptor as Parameters<typeof fromJSON>[0], {
    keepCase: true,
    longs: Number,
    defaults: true,
  });
  const { cache } = grpc.loadPackageDefinition(loaded) as unknown as {
    cache: { CacheService: Grpc.ServiceClientConstructor };
  };
  return { grpc, service: cache.CacheService.service, Client: cache.CacheService };
}

/** A server of gRPC. */
export type GrpcServer = Grpc.Server;
