import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes, standInOf } from '../models.js';
import { readData, readFloats, type Peer } from '../peer.js';

/** Fastify around ONNX Runtime, as one program of ours. */
function fastifyAround(program: string, peer: Omit<Peer, 'launch'>): Peer {
  return {
    ...peer,
    launch({ model, port }) {
      const binary = model.body === 'binary';
      const standIn = standInOf(model);
      const files = standIn === undefined ? [model.file] : [model.file, standIn];
      return {
        command: [process.execPath, `${SERVERS}${program}`, String(port), ...files],
        standIn: { path: standIn === undefined ? '/predict' : '/predict-standin' },
        request: {
          path: '/predict',
          headers: { 'content-type': binary ? 'application/octet-stream' : 'application/json' },
          body: binary ? rawBytes(model) : jsonBody(model),
          says: binary ? 'raw float32 both ways' : 'JSON both ways',
          read: binary ? readFloats : readData,
        },
      };
    },
  };
}

/** Fastify with `session.run()` in the route. */
export const naiveFastify = fastifyAround('naive-fastify.mjs', {
  id: 'fastify',
  title: 'naive Fastify',
  about: '`session.run()` in a Fastify route: one process, the event loop waits for each run',
  kind: 'peer',
});

/** T: what Marline is made of, without Marline. */
export const bareThreads = fastifyAround('bare-threads.mjs', {
  id: 'T',
  title: 'limit T: bare threads',
  about:
    'Fastify and two worker threads, a message each way for a request, and nothing else: no queue, bound, deadline, batch, limit or check',
  kind: 'limit',
});
