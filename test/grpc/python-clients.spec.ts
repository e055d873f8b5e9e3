import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clientVenv } from '../support/python-venv.js';
import { openGrpc, type OpenGrpc } from './open-grpc.js';

const run = promisify(execFile);
const INSTALL_LIMIT_MS = 600_000;
const protos = fileURLToPath(new URL('../../libs/grpc/proto/', import.meta.url));
const script = (name: string) => fileURLToPath(new URL(`python/${name}`, import.meta.url));

const { python = '', missing } = await clientVenv();
if (missing !== undefined) console.warn(`Python clients are not tried: ${missing}.`);

describe.skipIf(missing !== undefined)('Python clients', () => {
  let served: OpenGrpc;
  let stubs: string;

  beforeAll(async () => {
    served = await openGrpc({
      models: [
        'mlp',
        'stream',
        { fixture: 'mlp', name: 'identities', serializedFile: 'models/identities.onnx' },
      ],
    });
    await served.models.pack({ fixture: 'mlp', name: 'late' });
    stubs = mkdtempSync(join(tmpdir(), 'marline-stubs-'));
    const files = [
      'inference.proto',
      'management.proto',
      'open_inference_grpc.proto',
      'google/rpc/status.proto',
    ];
    await run(python, [
      '-m',
      'grpc_tools.protoc',
      `--proto_path=${protos}`,
      `--python_out=${stubs}`,
      `--grpc_python_out=${stubs}`,
      ...files,
    ]);
  }, INSTALL_LIMIT_MS);

  afterAll(async () => {
    await served?.close();
    rmSync(stubs, { recursive: true, force: true });
  });

  const ask = async (name: string, ...args: string[]): Promise<unknown> => {
    const { stdout } = await run(python, [script(name), ...args], {
      env: { ...process.env, PYTHONPATH: stubs },
    });
    return JSON.parse(stdout) as unknown;
  };

  it('with stubs made of our proto files call every RPC', async () => {
    const addresses = [served.inferencePort, served.managementPort].map((port) => `127.0.0.1:${port}`);
    expect(await ask('torchserve_client.py', ...addresses)).toEqual({
      Ping: '{\n  "status": "Healthy"\n}',
      Predictions: '1.0 1.0 end',
      StreamPredictions: ['1.0 ', '1.0 ', '1.0 end'],
      StreamPredictions2: ['1.0 end', 'Parameter sequenceId is required.'],
      unknown: {
        code: 'INTERNAL',
        details: 'Model not found: nosuch\norg.pytorch.serve.archive.model.ModelNotFoundException',
      },
      RegisterModel: 'Model "late" Version: 1.0 registered with 1 initial workers',
      ListModels: {
        models: ['identities', 'late', 'mlp', 'stream'].map((modelName) => ({
          modelName,
          modelUrl: `${modelName}.mar`,
        })),
      },
      DescribeModel: '1.0',
      ScaleWorker: 'Workers scaled to 2 for model: late',
      SetDefault: 'Default version successfully updated for model "late" to "1.0"',
      UnregisterModel: 'Model "late" unregistered',
      register: {
        code: 'INVALID_ARGUMENT',
        details: 'Parameter url is required.\norg.pytorch.serve.http.BadRequestException',
      },
      ServerLive: true,
      ServerReady: true,
      ServerMetadata: 'Marline',
      ModelReady: true,
      ModelMetadata: 'FP32',
      ModelInfer: expect.arrayContaining([expect.any(Number)]) as number[],
    });
  });

  it('of Triton infer over gRPC and over HTTP with binary tensors', async () => {
    const http = new URL(served.url).host;
    const body = JSON.stringify({
      inputs: [
        {
          name: 'input',
          datatype: 'FP32',
          shape: [1, 128],
          data: Array.from({ length: 128 }, (_, at) => Math.fround(Math.sin(at))),
        },
      ],
    });
    const plain = await fetch(`${served.url}/v2/models/mlp/infer`, { method: 'POST', body });
    const { outputs } = (await plain.json()) as { outputs: { data: number[] }[] };
    const found = {
      live: true,
      ready: true,
      differing: [],
      error: 'Model not found: nosuch',
      probabilities: outputs[0]?.data.map((value) => expect.closeTo(value, 4) as number),
    };
    expect(await ask('triton_client.py', `127.0.0.1:${served.inferencePort}`, http)).toEqual({
      grpc: found,
      http: found,
    });
  });
});
