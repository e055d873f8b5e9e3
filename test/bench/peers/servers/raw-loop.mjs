// Limit R: ONNX Runtime in two worker threads, nothing else. Lines of JSON on stdin, one answer a line on stdout.
// Usage: raw-loop.mjs MODEL JOB.json; JOB is { inputs: [{ name, datatype, shape, data | bytesFile }] }.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

async function main([model, jobFile]) {
  const job = JSON.parse(readFileSync(jobFile, 'utf8'));
  const workers = [0, 1].map(() => new Worker(new URL(import.meta.url), { workerData: { model, job } }));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const ask = async (worker, message) => {
    worker.postMessage(message);
    return (await once(worker, 'message'))[0];
  };
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { answer, workers: count, seconds } = JSON.parse(line);
    if (answer) {
      console.log(JSON.stringify(await ask(workers[0], { answer: true })));
      continue;
    }
    const startedAt = performance.now();
    const answers = await Promise.all(workers.slice(0, count).map((worker) => ask(worker, { seconds })));
    const elapsed = (performance.now() - startedAt) / 1000;
    const times = answers.flatMap(({ times }) => Array.from(times)).toSorted((a, b) => a - b);
    console.log(
      JSON.stringify({
        requests: times.length,
        seconds: elapsed,
        errors: 0,
        p50: quantile(times, 0.5),
        p99: quantile(times, 0.99),
      }),
    );
  }
  for (const worker of workers) worker.postMessage({ stop: true });
}

async function loop({ model, job }) {
  const session = await InferenceSession.create(model, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const inputs = job.inputs.map((input) =>
    input.bytesFile ? { ...input, bytes: readFileSync(input.bytesFile) } : input,
  );
  const tensorOf = ({ datatype, shape, data, bytes }) => {
    if (bytes)
      return new Tensor('float32', new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), shape);
    return datatype === 'INT64'
      ? new Tensor('int64', BigInt64Array.from(data, BigInt), shape)
      : new Tensor('float32', Float32Array.from(data), shape);
  };
  const run = async () => {
    const feeds = {};
    for (const input of inputs) feeds[input.name] = tensorOf(input);
    const outputs = await session.run(feeds);
    return outputs[session.outputNames[0]].data;
  };
  const timed = async (seconds) => {
    const times = [];
    const endAt = performance.now() + seconds * 1000;
    for (let before = performance.now(); before < endAt;) {
      await run();
      const after = performance.now();
      times.push(after - before);
      before = after;
    }
    return Float64Array.from(times);
  };
  const obey = async ({ answer, seconds, stop }) => {
    if (stop) {
      await session.release();
      parentPort.close();
    } else if (answer) parentPort.postMessage({ output: Array.from(await run()) });
    else parentPort.postMessage({ times: await timed(seconds) });
  };
  parentPort.on('message', (message) => void obey(message));
  parentPort.postMessage('ready');
}

if (isMainThread) await main(process.argv.slice(2));
else await loop(workerData);
