// Raw float32 in, raw float32 out, and every run is counted in the metric Runs.
import { BaseHandler, tensor } from 'marline/handler';

export default class CountingTensor extends BaseHandler {
  preprocess(body) {
    const { buffer } = Uint8Array.from(body);
    return { input: tensor('float32', new Float32Array(buffer), [1, 3, 224, 224]) };
  }

  inference(inputs, context) {
    context.metrics.addCounter('Runs', 1);
    return context.run(inputs);
  }

  postprocess(outputs) {
    const { data } = Object.values(outputs)[0];
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
}
