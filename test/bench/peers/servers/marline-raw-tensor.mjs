// Raw float32 in and out: the one input of an image model.
import { BaseHandler, tensor } from 'marline/handler';

export default class RawTensor extends BaseHandler {
  preprocess(body) {
    const bytes = body.byteOffset % 4 === 0 ? body : Uint8Array.from(body);
    return {
      input: tensor(
        'float32',
        new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4),
        [1, 3, 224, 224],
      ),
    };
  }

  postprocess(outputs) {
    const { data } = Object.values(outputs)[0];
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
}
