import { writeFileSync } from 'node:fs';
import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes } from '../models.js';
import type { Peer } from '../peer.js';

/** F: a bare Fastify route that reads and parses the body and answers a constant. */
export const floor: Peer = {
  id: 'F',
  title: 'limit F: bare Fastify route',
  about: 'Fastify, one process: reads the body, `JSON.parse` for JSON, answers a constant of the same size',
  kind: 'limit',
  launch({ model, port, folder, answer }) {
    const binary = model.body === 'binary';
    writeFileSync(`${folder}/answer`, answer);
    return {
      command: [process.execPath, `${SERVERS}fastify-floor.mjs`, String(port), `${folder}/answer`],
      standIn: { path: '/predict' },
      request: {
        path: '/predict',
        headers: { 'content-type': binary ? 'application/octet-stream' : 'application/json' },
        body: binary ? rawBytes(model) : jsonBody(model),
        says: 'the same',
        read: () => [],
      },
    };
  },
};
