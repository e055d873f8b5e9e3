import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BaseHandler, tensor } from 'marline/handler';

const SIDE = 8;

/** What onnx_img_handler.py of TorchServe's recordings does, in JavaScript: a picture in, the names of the likeliest classes out. */
export default class OnnxImgHandler extends BaseHandler {
  async initialize({ systemProperties, modelConfig }) {
    this.names = JSON.parse(await readFile(join(systemProperties.modelDir, 'index_to_name.json'), 'utf8'));
    this.count = modelConfig.handler.topk;
  }

  async preprocess(bytes, context) {
    const picture = await context.decodeImage(bytes);
    const pixels = Float32Array.from({ length: SIDE * SIDE }, (_, index) => greyAt(picture, index) / 255);
    const [{ name }] = context.inputs;
    return { [name]: tensor('float32', pixels, [1, 1, SIDE, SIDE]) };
  }

  postprocess(outputs, context) {
    const logits = outputs[context.outputs[0].name].data;
    const greatest = Math.max(...logits);
    const scores = logits.map((logit) => Math.exp(logit - greatest));
    const sum = scores.reduce((total, score) => Math.fround(total + score), 0);
    const ranked = [...scores.entries()].toSorted(([, a], [, b]) => b - a).slice(0, this.count);
    return Object.fromEntries(ranked.map(([index, score]) => [this.names[index], Math.fround(score / sum)]));
  }
}

/** The grey value that Pillow gives a pixel, of the nearest one in the picture. */
function greyAt({ data, width, height, channels }, index) {
  const x = Math.floor((((index % SIDE) + 0.5) * width) / SIDE);
  const y = Math.floor(((Math.floor(index / SIDE) + 0.5) * height) / SIDE);
  const [red, green, blue] = data.subarray((y * width + x) * channels);
  return (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16;
}
