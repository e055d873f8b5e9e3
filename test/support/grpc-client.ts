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
  readonly metadata?: readonly (readonly [string, string])[];
  /** Names that end in `_utf8` are for readers. */
  readonly messages: readonly Message[];
}

/** A message of Protobuf as JSON: 64-bit integers as decimal texts, bytes in base64. */
export type Message = Readonly<Record<string, unknown>>;

/** What came back. */
export interface GrpcAnswer {
  readonly code: number;
  readonly details: string;
  readonly messages: readonly Message[];
}

type Method = MethodDefinition<object, Message>;

const protos = fileURLToPath(new URL('../../libs/grpc/proto/', import.meta.url));
const definitions = loadSync(
  ['inference.proto', 'management.proto', 'open_inference_grpc.proto', 'grpc_service.proto'],
  { includeDirs: [protos], keepCase: true, longs: String, bytes: String },
);

/** A client of the gRPC services at two addresses. */
export class GrpcClient {
  readonly #clients: Readonly<Record<RecordedCall['target'], Client>>;

  constructor(inferencePort: number, managementPort: number, channel = credentials.createInsecure()) {
    const open = (port: number) => new Client(`localhost:${port}`, channel);
    this.#clients = { grpc_inference: open(inferencePort), grpc_management: open(managementPort) };
  }

  /** Makes a call and gathers all that comes. Never rejects. */
  async call(recorded: RecordedCall, deadlineMs = 60_000): Promise<GrpcAnswer> {
    const call = this.open(recorded, deadlineMs);
    const answers: Message[] = [];
    call.on('data', (message: Message) => answers.push(message));
    for (const message of recorded.messages) call.write(withoutNotes(message));
    call.end();
    return { ...(await ended(call)), messages: answers };
  }

  /** Begins a call without a message. A duplex call stands for all kinds: on the wire they are the same. */
  open(
    { target, service, rpc, metadata = [] }: Omit<RecordedCall, 'messages'>,
    deadlineMs = 60_000,
  ): ClientDuplexStream<object, Message> {
    const method = methodOf(service, rpc);
    const sent = new Metadata();
    for (const [name, value] of metadata) sent.add(name, value);
    const call = this.#clients[target].makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      sent,
      { deadline: Date.now() + deadlineMs },
    );
    // The status tells it.
    call.on('error', () => {});
    return call;
  }

  close(): void {
    for (const client of Object.values(this.#clients)) client.close();
  }
}

/** How a call ended, once it has. */
export function ended(
  call: ClientDuplexStream<object, Message>,
): Promise<Pick<GrpcAnswer, 'code' | 'details'>> {
  return new Promise((resolve) => {
    call.on('status', ({ code, details }: Pick<ServiceError, 'code' | 'details'>) =>
      resolve({ code, details }),
    );
  });
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
