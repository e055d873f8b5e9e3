import { jsonBody, rawBytes, type BenchModel } from '../models.js';
import { readFloats, readOutputs, type PeerRequest } from '../peer.js';

/**
 * A request of the open inference protocol: JSON, or for images its binary extension, where raw tensors stand behind a JSON
 * header in both directions.
 */
export function openInference(model: BenchModel, output: string): Omit<PeerRequest, 'path'> {
  if (model.body === 'json') {
    return {
      headers: { 'content-type': 'application/json' },
      body: jsonBody(model),
      says: 'JSON both ways',
      read: readOutputs,
    };
  }
  const bytes = rawBytes(model);
  const inputs = model.inputs.map(({ data: _data, ...input }) => ({
    ...input,
    parameters: { binary_data_size: bytes.length },
  }));
  const header = Buffer.from(
    JSON.stringify({ inputs, outputs: [{ name: output, parameters: { binary_data: true } }] }),
  );
  return {
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(header.length),
    },
    body: Buffer.concat([header, bytes]),
    says: 'protocol v2 with binary tensors both ways',
    // The raw output is what stands at the end.
    read: (answer) => readFloats(answer.subarray(-4 * model.outputShape.reduce((a, b) => a * b, 1))),
  };
}
