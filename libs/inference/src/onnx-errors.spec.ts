import { describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { describeFailure, loadFailure, runFailure } from './onnx-errors.js';

describe('describeFailure', () => {
  it.each([
    ['Load model from /srv/models/a/model.onnx failed:Protobuf parsing failed.', 'Protobuf parsing failed.'],
    [
      "Load model from /srv/m.onnx failed:Load model /srv/private/m.onnx failed. File doesn't exist",
      "Load model m.onnx failed. File doesn't exist",
    ],
    [
      'Load model from /srv/x.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:187 onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::ModelOptions&) ModelProto does not have a graph.\n',
      'ModelProto does not have a graph.',
    ],
    [
      "Non-zero status code returned while running Reshape node. Name:'r' Status Message: /onnxruntime_src/core/reshape_helper.h:91 onnxruntime::Helper::Helper(const F<void(int)>&, bool) size was false. Input shape:{1,3} (batch)",
      "Non-zero status code returned while running Reshape node. Name:'r' Status Message: size was false. Input shape:{1,3} (batch)",
    ],
    [
      'External data path does not exist: "/var/lib/marline/cache/0f/weights.bin"',
      'External data path does not exist: "weights.bin"',
    ],
    ['Cannot open C:\\Users\\me\\model.onnx', 'Cannot open model.onnx'],
    [
      'Invalid rank for input: gpu_0/blobs/data_0 Got: 1',
      'Invalid rank for input: gpu_0/blobs/data_0 Got: 1',
    ],
    ['and 3/4 of a/b', 'and 3/4 of a/b'],
  ])('%s', (text, clean) => {
    expect(describeFailure(new Error(text))).toBe(clean);
  });

  it('stays short', () => {
    expect(describeFailure(new Error('x'.repeat(10_000))).length).toBeLessThan(600);
  });
});

describe('the error of a failure', () => {
  const memory = new Error(
    'Non-zero status code: Failed to allocate memory for requested buffer of size 123',
  );

  it('is OUT_OF_RESOURCES when memory ran out', () => {
    expect(loadFailure(memory)).toMatchObject({ code: 'OUT_OF_RESOURCES', cause: memory });
    expect(runFailure(memory)).toMatchObject({ code: 'OUT_OF_RESOURCES', cause: memory });
  });

  it('says whether model, input or run is to blame', () => {
    expect(loadFailure(new Error('Protobuf parsing failed.')).code).toBe('MODEL_INVALID');
    expect(runFailure(new Error('Invalid rank for input: x Got: 1 Expected: 2')).code).toBe('INVALID_INPUT');
    expect(runFailure(new Error('Non-zero status code returned while running Reshape node.')).code).toBe(
      'PREDICTION_FAILED',
    );
  });

  it.each([
    [
      'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library',
      'Failed to load shared library',
    ],
    [
      '/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 onnxruntime::CudaCall(ERRTYPE, int) [with ERRTYPE = cudaError] CUDA failure 101: invalid device ordinal ; GPU=0 ; hostname=vm ; expr=cudaSetDevice(info_.device_id); ',
      'CUDA failure 101: invalid device ordinal',
    ],
  ])('is DEVICE_UNAVAILABLE when CUDA cannot be used: %s', (text, said) => {
    const { code, message } = loadFailure(new Error(text));
    expect(code).toBe('DEVICE_UNAVAILABLE');
    expect(message).toContain(`cannot use the GPU: ${said}. A GPU is there when nvidia-smi lists it.`);
  });

  it('is the one that we threw ourselves', () => {
    const own = new MarlineError('SHUTTING_DOWN');
    expect(loadFailure(own)).toBe(own);
    expect(runFailure(own)).toBe(own);
  });
});
