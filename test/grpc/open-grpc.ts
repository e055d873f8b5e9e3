import type { ChannelCredentials } from '@grpc/grpc-js';
import { GrpcServer, MarlineGrpcModule, type GrpcServerOptions } from '#libs/grpc';
import { GrpcClient, type GrpcAnswer, type Message, type RecordedCall } from '../support/grpc-client.js';
import { serveApp, type ServeAppOptions, type ServedApp } from '../support/serve-app.js';

/** Options of {@link openGrpc}. */
export interface OpenGrpcOptions extends ServeAppOptions {
  readonly server?: Partial<GrpcServerOptions>;
  /** How the client connects; without encryption by default. */
  readonly channel?: ChannelCredentials;
}

/** A gateway that serves fixtures over gRPC, too, and a client of it. */
export interface OpenGrpc extends ServedApp {
  readonly client: GrpcClient;
  readonly inferencePort: number;
  readonly managementPort: number;
}

/** Opens both gRPC ports of an application that serves fixtures with real workers. */
export async function openGrpc({ server, channel, ...options }: OpenGrpcOptions): Promise<OpenGrpc> {
  const served = await serveApp({
    management: true,
    modules: [MarlineGrpcModule.forRoot({ management: true })],
    ...options,
  });
  const listen = { url: '127.0.0.1:0', ...server };
  const inference = new GrpcServer('inference', listen);
  const management = new GrpcServer('management', listen);
  for (const strategy of [inference, management]) served.app.connectMicroservice({ strategy });
  await served.app.startAllMicroservices();
  const inferencePort = inference.port ?? 0;
  const managementPort = management.port ?? 0;
  const client = new GrpcClient(inferencePort, managementPort, channel);
  const close = async () => {
    client.close();
    await served.close();
  };
  return { ...served, client, inferencePort, managementPort, close };
}

/** A call of TorchServe's inference service. */
export const inferenceCall = (rpc: string, ...messages: Message[]): RecordedCall => ({
  target: 'grpc_inference',
  service: 'org.pytorch.serve.grpc.inference.InferenceAPIsService',
  rpc,
  messages,
});

/** A call of TorchServe's management service. */
export const managementCall = (rpc: string, ...messages: Message[]): RecordedCall => ({
  target: 'grpc_management',
  service: 'org.pytorch.serve.grpc.management.ManagementAPIsService',
  rpc,
  messages,
});

/** A call of the open inference protocol, in its own package or another. */
export const protocolCall = (rpc: string, message: Message, inPackage = 'inference'): RecordedCall => ({
  target: 'grpc_inference',
  service: `${inPackage}.GRPCInferenceService`,
  rpc,
  messages: [message],
});

/** A request for a prediction, its body as the handler gets it. */
export const prediction = (model: string, body: string | Buffer, more: Message = {}): Message => ({
  model_name: model,
  input: { body: Buffer.from(body).toString('base64') },
  ...more,
});

/** The bodies of an answer. */
export function bodies({ messages }: Pick<GrpcAnswer, 'messages'>): string[] {
  return messages.map(({ prediction: body }) => Buffer.from(String(body), 'base64').toString());
}
