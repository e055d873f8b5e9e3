// Limit T: the least that a server can be whose event loop stays free: Fastify, a message to one of two worker threads for each
// request, session.run() there, a message back. Usage: bare-threads.mjs PORT MODEL [STANDIN]
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import fastify from 'fastify';
import { InferenceSession, Tensor } from 'onnxruntime-node';

/** Two threads with a session each; `run` gives the request to the one with less to do. */
function openThreads(model) {
  const threads = [0, 1].map(() => {
    const worker = new Worker(new URL(import.meta.url), { workerData: model });
    const thread = { worker, waiting: [] };
    worker.on('message', (output) => thread.waiting.shift()(output));
    return thread;
  });
  return (inputs) =>
    new Promise((resolve) => {
      const [first, second] = threads;
      const thread = second.waiting.length < first.waiting.length ? second : first;
      thread.waiting.push(resolve);
      thread.worker.postMessage(
        inputs,
        inputs.map(({ data }) => data.buffer),
      );
    });
}

function routeOf(run) {
  return async (request, reply) => {
    const { body } = request;
    if (Buffer.isBuffer(body)) {
      const data = new Float32Array(body.buffer, body.byteOffset, body.length / 4);
      const output = await run([{ data, shape: [1, 3, 224, 224] }]);
      return reply
        .type('application/octet-stream')
        .send(Buffer.from(output.buffer, output.byteOffset, output.byteLength));
    }
    const output = await run(
      body.inputs.map(({ name, shape, datatype, data }) => ({
        name,
        shape,
        data: datatype === 'INT64' ? BigInt64Array.from(data, BigInt) : Float32Array.from(data),
      })),
    );
    return { data: Array.from(output) };
  };
}

async function serve([port, model, standIn]) {
  const app = fastify({ bodyLimit: 8 << 20 });
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.post('/predict', routeOf(openThreads(model)));
  if (standIn !== undefined) app.post('/predict-standin', routeOf(openThreads(standIn)));
  await app.listen({ port: Number(port), host: '127.0.0.1' });
}

async function work(model) {
  const session = await InferenceSession.create(model, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const [output] = session.outputNames;
  const answer = async (inputs) => {
    const feeds = {};
    for (const { name = session.inputNames[0], shape, data } of inputs)
      feeds[name] = new Tensor(data instanceof BigInt64Array ? 'int64' : 'float32', data, shape);
    const { data } = (await session.run(feeds))[output];
    parentPort.postMessage(data, [data.buffer]);
  };
  parentPort.on('message', (inputs) => void answer(inputs));
}

if (isMainThread) await serve(process.argv.slice(2));
else await work(workerData);
