import { spawnSync } from 'node:child_process';
import { TORCHSERVE_PACKAGES } from '../../../support/python-venv.js';
import { SERVERS } from '../folders.js';
import { jsonBody, rawBytes } from '../models.js';
import {
  readData,
  readFloats,
  writeProperties,
  type Launch,
  type Peer,
  type Place,
  type Properties,
} from '../peer.js';
import { ensureVenv, venvProgram } from '../venv.js';

const packages = [...TORCHSERVE_PACKAGES, 'onnxruntime==1.30.0'];

/** How the real TorchServe is started with two workers for each model, and with these lines of config.properties. */
export function torchServeCommand(
  { port, sparePorts, folder }: Place,
  properties: Properties,
): Pick<Launch, 'command' | 'env' | 'cwd'> {
  const address = (port: number) => `http://127.0.0.1:${port}`;
  const config = writeProperties(folder, {
    inference_address: address(port),
    management_address: address(sparePorts[0]),
    metrics_address: address(sparePorts[1]),
    grpc_inference_port: sparePorts[2],
    enable_grpc: false,
    default_workers_per_model: 2,
    metrics_mode: 'log',
    disable_system_metrics: true,
    ...properties,
  });
  return {
    command: [
      venvProgram('torchserve', 'torchserve'),
      '--start',
      '--foreground',
      '--ncs',
      '--disable-token-auth',
      '--enable-model-api',
      '--ts-config',
      config,
    ],
    env: {
      PATH: `${venvProgram('torchserve', '')}:${process.env['PATH']}`,
      LOG_LOCATION: folder,
      METRICS_LOCATION: folder,
    },
    cwd: folder,
  };
}

/** The real TorchServe with an ONNX handler. */
export const torchserve: Peer = {
  id: 'torchserve',
  title: 'TorchServe',
  about: 'TorchServe 0.12.0 on Java 17, an ONNX Runtime handler, two workers, batch size 1',
  kind: 'peer',
  coldStarts: 3,
  setup: () => ensureVenv({ name: 'torchserve', packages }),
  launch({ model, port, sparePorts, folder }) {
    const binary = model.body === 'binary';
    pack(model.file, folder);
    return {
      ...torchServeCommand({ port, sparePorts, folder }, { model_store: folder, load_models: 'model.mar' }),
      request: {
        path: '/predictions/model',
        headers: { 'content-type': binary ? 'application/octet-stream' : 'application/json' },
        body: binary ? rawBytes(model) : jsonBody(model),
        says: binary ? 'raw float32 both ways' : 'JSON both ways',
        read: binary ? readFloats : readData,
      },
    };
  },
};

function pack(model: string, folder: string): void {
  const argv = ['--model-name', 'model', '--version', '1.0', '--force', '--export-path', folder];
  argv.push('--serialized-file', model, '--handler', `${SERVERS}torchserve_handler.py`);
  argv.push('--extra-files', `${SERVERS}onnx_session.py`, '--archive-format', 'zip-store');
  const { status, stderr } = spawnSync(venvProgram('torchserve', 'torch-model-archiver'), argv, {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`torch-model-archiver failed.\n${stderr}`);
}
