import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes, standInOf } from '../models.js';
import { readData, readFloats, type Peer } from '../peer.js';

/** Fastify with `session.run()` in the route. */
export const naiveFastify: Peer = {
  id: 'fastify',
  title: 'naive Fastify',
  about: '`session.run()` in a Fastify route: one process, the event loop waits for each run',
  kind: 'peer',
  launch({ model, port }) {
    const binary = model.body === 'binary';
    const standIn = standInOf(model);
    return {
      command: [
        process.execPath,
        `${SERVERS}naive-fastify.mjs`,
        String(port),
        model.file,
        ...(standIn ? [standIn] : []),
      ],
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
