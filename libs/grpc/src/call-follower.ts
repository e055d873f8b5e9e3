import { ServerInterceptingCall, status, type Metadata, type ServerInterceptor } from '@grpc/grpc-js';
import type { GrpcCall } from './grpc-call.js';

/** What is known of a call when it begins. @publicApi */
export interface StartedCall {
  /** `/package.Service/Method` */
  readonly path: string;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** Told how one call goes. @publicApi */
export interface CallFollower {
  /** A model is asked. A stream may ask again and again. @param requestId what an observer knows the request by */
  asked(requestId: string): void;
  /** The status is sent, or the client is gone. @param code the number of the status; CANCELLED (1) for a client that left before */
  ended(code: number): void;
}

/** By what a call and its interceptor have in common. */
const followers = new WeakMap<Metadata, CallFollower>();

/** Shows every call whose method is served to `follow`. */
export function followingInterceptor(follow: (call: StartedCall) => CallFollower): ServerInterceptor {
  return ({ path }, call) => {
    const { remoteAddress, remotePort } = call.getConnectionInfo();
    const follower = follow({ path, remoteAddress, remotePort });
    let code: number | undefined;
    const sendStatus = call.sendStatus.bind(call);
    // Not as a responder: grpc-js sends what it finds itself, such as a message that is too large, past its interceptors.
    call.sendStatus = (sent) => {
      code ??= sent.code;
      sendStatus(sent);
    };
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            followers.set(metadata, follower);
            pass(metadata);
          },
          // Comes at the end of every call, however it ends.
          onCancel: () => follower.ended(code ?? status.CANCELLED),
        }),
    });
  };
}

/** Tells whoever follows a call that a model is asked for it. */
export function tellAsked({ metadata }: Pick<GrpcCall, 'metadata'>, requestId: string): void {
  followers.get(metadata)?.asked(requestId);
}
