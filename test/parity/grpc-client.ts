import { fileURLToPath } from 'node:url';
import {
  Client,
  Metadata,
  credentials,
  type ClientDuplexStream,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/** A call as it was made. */
export interface RecordedCall {
  readonly target: 'grpc_inference' | 'grpc_management';
  readonly service: string;
  readonly rpc: string;
  readonly metadata: readonly (readonly [string, string])[];
  /** Protobuf's JSON; names that end in `_utf8` are for readers. */
  readonly messages: readonly Readonly<Record<string, unknown>>[];
}

/** What came back. */
export interface GrpcAnswer {
  readonly code: number;
  readonly details: string;
  readonly messages: readonly Readonly<Record<string, unknown>>[];
}

type Method = MethodDefinition<object, Readonly<Record<string, unknown>>>;

const protos = fileURLToPath(new URL('../../libs/grpc/proto/', import.meta.url));
const definitions = loadSync(
  ['inference.proto', 'management.proto', 'open_inference_grpc.proto', 'grpc_service.proto'],
  { includeDirs: [protos], keepCase: true, longs: String, bytes: String },
);

/** A client of the gRPC services at two addresses. */
export class GrpcClient {
  readonly #clients: Readonly<Record<RecordedCall['target'], Client>>;

  constructor(inferencePort: number, managementPort: number) {
    const open = (port: number) => new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    this.#clients = { grpc_inference: open(inferencePort), grpc_management: open(managementPort) };
  }

  /** Makes a call and gathers all that comes. Never rejects. */
  call({ target, service, rpc, metadata, messages }: RecordedCall, deadlineMs = 60_000): Promise<GrpcAnswer> {
    const method = methodOf(service, rpc);
    const sent = new Metadata();
    for (const [name, value] of metadata) sent.add(name, value);
    const client = this.#clients[target];
    // A duplex call stands for all kinds: on the wire they are the same.
    const call: ClientDuplexStream<object, Readonly<Record<string, unknown>>> = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      sent,
      { deadline: Date.now() + deadlineMs },
    );
    const answers: Readonly<Record<string, unknown>>[] = [];
    call.on('data', (message: Readonly<Record<string, unknown>>) => answers.push(message));
    call.on('error', () => {});
    for (const message of messages) call.write(withoutNotes(message));
    call.end();
    return new Promise((resolve) => {
      call.on('status', ({ code, details }: Pick<ServiceError, 'code' | 'details'>) =>
        resolve({ code, details, messages: answers }),
      );
    });
  }

  close(): void {
    for (const client of Object.values(this.#clients)) client.close();
  }
}

function methodOf(service: string, rpc: string): Method {
  const definition = definitions[service] as Readonly<Record<string, Method>> | undefined;
  const method = definition?.[rpc];
  if (method === undefined) throw new Error(`Our proto files have no ${service}/${rpc}.`);
  return method;
}

/** The fields of a recorded message without those that are for readers only. */
export function withoutNotes(message: unknown): object {
  return JSON.parse(JSON.stringify(message), (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).filter(([name]) => !name.endsWith('_utf8')))
      : value,
  ) as object;
}
