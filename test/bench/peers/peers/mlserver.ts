import { writeFileSync } from 'node:fs';
import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes } from '../models.js';
import { readOutputs, type Peer } from '../peer.js';
import { ensureVenv, venvProgram } from '../venv.js';

// Its workers ask for an event loop before there is one, which newer releases of uvloop refuse.
const packages = ['mlserver==1.7.1', 'uvloop==0.21.0', 'onnxruntime==1.30.0'];

/** MLServer with a runtime of ours and two parallel workers. */
export const mlserver: Peer = {
  id: 'mlserver',
  title: 'MLServer',
  about: 'MLServer 1.7.1, a custom runtime over ONNX Runtime, `parallel_workers: 2`',
  kind: 'peer',
  setup: () => ensureVenv({ name: 'mlserver', packages }),
  launch({ model, port, sparePorts, folder }) {
    const binary = model.body === 'binary';
    const settings = {
      host: '127.0.0.1',
      http_port: port,
      grpc_port: sparePorts[0],
      metrics_port: sparePorts[1],
      parallel_workers: 2,
      debug: false,
    };
    const modelSettings = {
      name: 'model',
      implementation: 'mlserver_runtime.Onnx',
      parameters: { uri: model.file },
    };
    writeFileSync(`${folder}/settings.json`, JSON.stringify(settings));
    writeFileSync(`${folder}/model-settings.json`, JSON.stringify(modelSettings));
    const image = {
      name: 'input',
      shape: [1],
      datatype: 'BYTES',
      parameters: { content_type: 'base64' },
      data: [binary ? rawBytes(model).toString('base64') : ''],
    };
    return {
      command: [venvProgram('mlserver', 'mlserver'), 'start', folder],
      env: { PYTHONPATH: SERVERS },
      cwd: folder,
      request: {
        path: '/v2/models/model/infer',
        headers: { 'content-type': 'application/json' },
        body: binary ? Buffer.from(JSON.stringify({ inputs: [image] })) : jsonBody(model),
        says: binary ? 'base64 in JSON, JSON back' : 'JSON both ways',
        read: readOutputs,
      },
    };
  },
};
