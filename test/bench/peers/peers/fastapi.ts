import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes } from '../models.js';
import { readData, readFloats, type Peer } from '../peer.js';
import { ensureVenv, venvProgram } from '../venv.js';

const packages = ['fastapi==0.165.0', 'uvicorn[standard]==0.54.0', 'onnxruntime==1.30.0', 'numpy==2.4.6'];

/** FastAPI under uvicorn (uvloop, httptools), two processes with a session each. */
export const fastapi: Peer = {
  id: 'fastapi',
  title: 'FastAPI + ORT',
  about:
    'FastAPI 0.165.0, uvicorn 0.54.0 with uvloop and httptools, `--workers 2`, one session a process; connections fall to the two as they come, not always evenly',
  kind: 'peer',
  setup: () => ensureVenv({ name: 'fastapi', packages }),
  launch({ model, port }) {
    const binary = model.body === 'binary';
    const argv = ['fastapi_app:app', '--host', '127.0.0.1', '--port', String(port), '--workers', '2'];
    return {
      command: [
        venvProgram('fastapi', 'python'),
        '-m',
        'uvicorn',
        ...argv,
        '--no-access-log',
        '--log-level',
        'warning',
      ],
      cwd: SERVERS,
      env: { MODEL: model.file },
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
