import { setPriority } from 'node:os';
import { encodeError } from '#libs/common';
import { inspectOnnxFile } from './onnx-file.js';
import { loadReport } from './load-report.js';
import type { ProbeAnswer, ProbeRequest } from './model-probe.js';

// The entry of the child process that tries a model; it ends when its parent closes the channel.
setPriority(10);
// What it writes into the cache is for this user alone.
process.umask(0o077);

process.on('message', (request: ProbeRequest) => {
  void answerTo(request).then((answer) => process.send?.(answer));
});

async function answerTo(request: ProbeRequest): Promise<ProbeAnswer> {
  try {
    return request.step === 'inspect'
      ? { kind: 'file', file: inspectOnnxFile(request.path) }
      : { kind: 'report', report: await loadReport(request) };
  } catch (error) {
    return { kind: 'error', error: encodeError(error) };
  }
}
