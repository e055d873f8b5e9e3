import { SERVERS } from '../folders.js';
import { writeSpec } from '../models.js';
import type { Peer } from '../peer.js';
import { ensureVenv, venvProgram } from '../venv.js';
import { openInference } from './open-inference.js';

const packages = ['nvidia-pytriton==0.7.0', 'onnxruntime==1.30.0'];

/** The real Triton server with its Python back end. */
export const triton: Peer = {
  id: 'triton',
  title: 'Triton',
  about: 'Triton as nvidia-pytriton 0.7.0 brings it, Python back end, two instances, no batching',
  kind: 'peer',
  // Its back end is built for Debian's own Python 3.11.2.
  setup: () => ensureVenv({ name: 'triton', packages, python: '/usr/bin/python3' }),
  launch({ model, port, folder }) {
    return {
      command: [
        venvProgram('triton', 'python'),
        `${SERVERS}triton_app.py`,
        String(port),
        model.file,
        writeSpec(model),
      ],
      cwd: folder,
      request: { path: '/v2/models/model/infer', ...openInference(model, 'output') },
    };
  },
};
