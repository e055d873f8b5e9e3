/** A file of a new handler, by its path inside the handler's folder. */
export interface SkeletonFile {
  readonly path: string;
  readonly text: string;
}

/**
 * The files of a new handler that is a JavaScript module for an archive: the handler, its tests for `node --test`,
 * and how to pack it.
 * @param name checked already: letters, digits, `_`, `-` and `.`
 */
export function handlerSkeleton(name: string): readonly SkeletonFile[] {
  const className = classNameOf(name);
  return [
    { path: 'handler.mjs', text: handlerText(className) },
    { path: 'handler.test.mjs', text: specText(className) },
    { path: 'README.md', text: readmeText(name) },
  ];
}

/** The class of a handler: `2nd.fraud` is `Model2ndFraudHandler`. */
export function classNameOf(name: string): string {
  const words = name.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  const joined = words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
  const letterFirst = /^\d/.test(joined) ? `Model${joined}` : joined;
  return letterFirst.endsWith('Handler') ? letterFirst : `${letterFirst}Handler`;
}

function handlerText(className: string): string {
  return `import { BaseHandler, PredictionException } from 'marline/handler';

/** Takes \`{ "values": [1, 2, 3] }\` and answers the index of the model's highest score, and that score. */
export default class ${className} extends BaseHandler {
  /** Called once per worker: read labels from \`context.systemProperties.modelDir\`, settings from \`context.modelConfig\`. */
  initialize(context) {}

  /** One request in, the model's inputs out, each with a batch axis of 1 in front. */
  preprocess(request, context) {
    const values = request?.values;
    if (!Array.isArray(values) || !values.every(Number.isFinite)) {
      throw new PredictionException('Send JSON like {"values": [1, 2, 3]}.', 400);
    }
    const [input] = context.inputs;
    return { [input.name]: { dtype: 'float32', shape: [1, values.length], data: Float32Array.from(values) } };
  }

  /** The model's outputs of one request in, its answer out: an object becomes JSON. */
  postprocess(outputs, context) {
    const [output] = context.outputs;
    const scores = Array.from(outputs[output.name].data);
    const score = Math.max(...scores);
    return { index: scores.indexOf(score), score };
  }
}
`;
}

function specText(className: string): string {
  return `import assert from 'node:assert/strict';
import { test } from 'node:test';
import ${className} from './handler.mjs';

const context = {
  inputs: [{ name: 'x', dtype: 'float32', shape: ['batch', 3] }],
  outputs: [{ name: 'scores', dtype: 'float32', shape: ['batch', 2] }],
};

test('makes a tensor of the values', () => {
  const { x } = new ${className}().preprocess({ values: [1, 2, 3] }, context);
  assert.deepEqual(x.shape, [1, 3]);
  assert.deepEqual([...x.data], [1, 2, 3]);
});

test('says what to send when the values are missing', () => {
  assert.throws(() => new ${className}().preprocess({}, context), /Send JSON like/);
});

test('answers the highest score', () => {
  const scores = { dtype: 'float32', shape: [1, 2], data: Float32Array.of(0.25, 0.75) };
  assert.deepEqual(new ${className}().postprocess({ scores }, context), { index: 1, score: 0.75 });
});
`;
}

function readmeText(name: string): string {
  return `# ${name}

\`handler.mjs\` turns requests into the model's inputs and its outputs into answers. Test it (once: \`ONNXRUNTIME_NODE_INSTALL=skip npm install marline\`):

    node --test

Pack it with the model, then serve and ask it:

    marline archive --model-name ${name} --version 1.0 --serialized-file model.onnx --handler handler.mjs --export-path models
    marline serve --model-store models --models ${name}.mar
    echo '{"values": [1, 2, 3]}' > request.json
    marline predict request.json --model ${name}
`;
}
