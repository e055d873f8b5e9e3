// What a first attempt looks like: Fastify, and session.run() in the route, where each run blocks the event loop.
// Usage: naive-fastify.mjs PORT MODEL [STANDIN]
import fastify from 'fastify';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const [port, model, standIn] = process.argv.slice(2);
const open = (file) =>
  InferenceSession.create(file, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
const app = fastify({ bodyLimit: 8 << 20 });
app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
);

const predictWith = (session) => {
  const [output] = session.outputNames;
  const [input] = session.inputNames;
  return async (request, reply) => {
    const { body } = request;
    if (Buffer.isBuffer(body)) {
      // A body of several chunks is a buffer of its own; one from Node's pool may lie unaligned.
      const bytes = body.byteOffset % 4 === 0 ? body : Buffer.from(Uint8Array.from(body).buffer);
      const pixels = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      const outputs = await session.run({ [input]: new Tensor('float32', pixels, [1, 3, 224, 224]) });
      const { data } = outputs[output];
      return reply
        .type('application/octet-stream')
        .send(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    }
    const feeds = {};
    for (const { name, shape, datatype, data } of body.inputs) {
      feeds[name] =
        datatype === 'INT64'
          ? new Tensor('int64', BigInt64Array.from(data, BigInt), shape)
          : new Tensor('float32', Float32Array.from(data), shape);
    }
    const outputs = await session.run(feeds);
    return { data: Array.from(outputs[output].data) };
  };
};
app.post('/predict', predictWith(await open(model)));
if (standIn !== undefined) app.post('/predict-standin', predictWith(await open(standIn)));
await app.listen({ port: Number(port), host: '127.0.0.1' });
