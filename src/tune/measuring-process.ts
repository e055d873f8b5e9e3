// The process that measures one setting: its peak of memory is the setting's own, and a crash costs no other setting.
import 'reflect-metadata';
import { MarlineError, encodeError, toMarlineError } from '#libs/common';
import { ModelRegistry } from '#libs/inference';
import { runLoad } from '../load/load-run.js';
import { liveClock } from '../load/pacer.js';
import { InProcessTransport, inputMaker } from './in-process-transport.js';
import type { Measurement, MeasurementAnswer, MeasurementOrder } from './measurement.js';
import { cpuMsOf, peakRssMbOf } from './process-usage.js';
import { RunTimesObserver, tunedRegistry } from './tuned-registry.js';

// Ctrl-C is the parent's to handle, which then ends this process; without the parent there is nothing to measure for.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.once('message', (order: MeasurementOrder) => {
  measure(order).then(
    (measurement) => answer({ kind: 'measured', measurement }),
    (error: unknown) => answer({ kind: 'failed', error: encodeError(reasonOf(error)) }),
  );
});

async function measure(order: MeasurementOrder): Promise<Measurement> {
  const times = new RunTimesObserver();
  const application = await tunedRegistry(order, times);
  const registry = application.get(ModelRegistry, { strict: false });
  const runtime = await registry.register({ url: order.archive, synchronous: true });
  const transport = new InProcessTransport(runtime, inputMaker(runtime, order));
  // Alone, so that an input that the model refuses is told in the model's words.
  for (let count = 0; count < 3; count++) await transport.ask();
  times.clear();
  const workers = runtime.workers().map(({ pid }) => pid);
  const [cpuMs, before] = [cpuMsOf(workers), transport.requests];
  const { callers, warmupMs, durationMs } = order;
  const { latencyMs } = await runLoad({
    shape: { kind: 'closed', clients: callers },
    warmupMs,
    durationMs,
    transport,
    clock: liveClock,
  });
  if (transport.failure !== undefined) throw transport.failure;
  if (latencyMs === null)
    throw new MarlineError('PREDICTION_EXCEPTION', {
      reason: 'nothing was asked and answered in the time measured: allow more --seconds',
    });
  return {
    inputs: runtime.metadata.inputs,
    // Little's law: exact also when only a few batches fit into the time.
    throughput: callers / (latencyMs.mean / 1000),
    p50Ms: latencyMs.p50,
    p99Ms: latencyMs.p99,
    cpuMsPerRequest: (cpuMsOf(workers) - cpuMs) / (transport.requests - before),
    peakRssMb: peakRssMbOf(workers),
    runTimes: times.result(),
  };
}

function answer(message: MeasurementAnswer): void {
  process.send?.(message);
}

/** Why the workers did not start says more than that they did not. */
function reasonOf(error: unknown): unknown {
  const { code, cause } = toMarlineError(error);
  return code === 'WORKERS_NOT_STARTED' && cause !== undefined ? cause : error;
}
