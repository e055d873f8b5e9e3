/**
 * grpc: TorchServe's gRPC services and the open inference protocol over gRPC, the entry `marline/grpc`.
 * A library of its own and not a folder of serve, because a gateway without gRPC has none of the packages that it needs:
 * @nestjs/microservices, @grpc/grpc-js and @grpc/proto-loader.
 */
export type { CallFollower, StartedCall } from './call-follower.js';
export { MarlineGrpcModule } from './grpc.module.js';
export { metadataOf } from './grpc-call.js';
export { GrpcServer, type GrpcPlane, type GrpcServerOptions } from './grpc-server.js';
