import type { Peer } from '../peer.js';
import { fastapi } from './fastapi.js';
import { bareThreads, naiveFastify } from './fastify.js';
import { floor } from './limits.js';
import { litserve } from './litserve.js';
import { marlineAdaptive, marlineInline, marlineProcesses, marlineThreads } from './marline.js';
import { mlserver } from './mlserver.js';
import { torchserve } from './torchserve.js';
import { triton } from './triton.js';

/** All that is compared, in the order of the first round. The raw loop R stands outside: it is no server. */
export const PEERS: readonly Peer[] = [
  floor,
  bareThreads,
  marlineThreads,
  marlineAdaptive,
  marlineProcesses,
  marlineInline,
  naiveFastify,
  fastapi,
  litserve,
  mlserver,
  torchserve,
  triton,
];
