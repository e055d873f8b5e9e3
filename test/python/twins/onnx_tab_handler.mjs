import { BaseHandler, tensor } from 'marline/handler';

/** What onnx_tab_handler.py of TorchServe's recordings does, in JavaScript: rows of numbers in, their classes out. */
export default class OnnxTabHandler extends BaseHandler {
  preprocess(input, context) {
    const rows = rowsOf(input instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(input)) : input);
    const numbers = rows.flat();
    if (!numbers.every(Number.isFinite)) throw new TypeError('Rows are arrays of numbers.');
    const [{ name }] = context.inputs;
    return { [name]: tensor('float32', Float32Array.from(numbers), [rows.length, rows[0].length]) };
  }

  postprocess(outputs, context) {
    const { data, shape } = outputs[context.outputs[0].name];
    const [count, width] = shape;
    const predictions = Array.from({ length: count }, (_, row) => [
      ...data.subarray(row * width, (row + 1) * width),
    ]);
    const classes = predictions.map((scores) => scores.indexOf(Math.max(...scores)));
    return { predictions, classes };
  }
}

function rowsOf(value) {
  const rows = Array.isArray(value) ? value : value.instances;
  return Array.isArray(rows[0]) ? rows : [rows];
}
