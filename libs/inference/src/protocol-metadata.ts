import { VERSION, type TensorMetadata } from '#libs/common';
import { DATATYPES } from '#libs/handler';
import type { ModelRuntime } from './model-runtime.js';
import { hasModelFile } from './model-file.js';

/** What this server is, in the open inference protocol, and what of the protocol's extensions it has. */
export const PROTOCOL_SERVER = { name: 'Marline', version: VERSION, extensions: ['binary_tensor_data'] };

/** TorchServe's service envelope for this protocol: a handler in it gets what stands in the request. */
export const PROTOCOL_ENVELOPE = 'kservev2';

/** Whether the protocol asks the handler of a model and not the model: where there is none that could be given tensors. */
export function protocolAsksHandler({ settings, archive }: ModelRuntime): boolean {
  return settings.runsPython || settings.envelope === PROTOCOL_ENVELOPE || !hasModelFile(archive);
}

/** A dimension that may have any length, in the protocol. */
const ANY_LENGTH = -1;

/** The protocol's metadata of a model; inputs and outputs are empty before its first worker, and without an ONNX file. */
export function protocolMetadata(
  { name, metadata, settings }: Pick<ModelRuntime, 'name' | 'metadata' | 'settings'>,
  versions: readonly string[],
) {
  return {
    name,
    versions,
    platform: settings.runsPython ? 'torchserve_python' : 'onnxruntime_onnx',
    inputs: metadata.inputs.map(describeTensor),
    outputs: metadata.outputs.map(describeTensor),
  };
}

function describeTensor({ name, dtype, shape }: TensorMetadata) {
  return {
    name,
    datatype: DATATYPES[dtype],
    shape: shape.map((dimension) => (typeof dimension === 'number' ? dimension : ANY_LENGTH)),
  };
}
