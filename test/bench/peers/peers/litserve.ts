import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes } from '../models.js';
import { readData, readFloats, type Peer } from '../peer.js';
import { ensureVenv, venvProgram } from '../venv.js';

const packages = ['litserve==0.2.19', 'onnxruntime==1.30.0', 'numpy==2.4.6'];

/** LitServe with two workers on the CPU. */
export const litserve: Peer = {
  id: 'litserve',
  title: 'LitServe',
  about:
    'LitServe 0.2.19, `workers_per_device=2`, one API server, its default transport (ZeroMQ measured no better)',
  kind: 'peer',
  setup: () => ensureVenv({ name: 'litserve', packages }),
  launch({ model, port }) {
    const binary = model.body === 'binary';
    return {
      command: [
        venvProgram('litserve', 'python'),
        `${SERVERS}litserve_app.py`,
        String(port),
        model.file,
        model.body,
      ],
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
