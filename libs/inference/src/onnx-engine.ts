import { MarlineError, messageOf, type HandlerMetric, type Tensors } from '#libs/common';
import {
  HandlerRunner,
  createBuiltinHandler,
  loadHandlerModule,
  type BaseHandler,
  type ModelBinding,
} from '#libs/handler/worker';
import type { WorkerEngine, WorkerHost } from '#libs/pool';
import { OnnxSession } from './onnx-session.js';
import { sampleInputs } from './sample-inputs.js';
import { SteadyRows } from './steady-rows.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/**
 * Opens what a worker serves: the session, the handler beside it, and one run to warm up.
 * @throws MarlineError `MODEL_INVALID`, `HANDLER_NOT_FOUND`, `HANDLER_INVALID`, `OUT_OF_RESOURCES`, or what the handler's `initialize` throws
 */
export async function loadOnnxEngine(
  model: WorkerModel,
  host: WorkerHost,
): Promise<WorkerEngine<WorkerReady>> {
  const session =
    model.session === null ? undefined : OnnxSession.open(model.session, (call) => host.native(call));
  try {
    const steady =
      session !== undefined && model.session?.executionProvider === 'cuda'
        ? new SteadyRows(session, model.setup.systemProperties.batchSize)
        : undefined;
    const setup = { ...model.setup, metric: (metric: HandlerMetric) => host.metric(metric) };
    const runner = new HandlerRunner(await loadHandler(model.handler), {
      setup,
      binding: steady ?? session ?? NO_MODEL,
      output: 'bytes',
      recycle: (buffer) => host.recycle(buffer),
    });
    await runner.initialize();
    if (session !== undefined && model.skipsWarmUp !== true) {
      const sample = warmUp(session, host);
      if (sample !== undefined) steady?.learn(sample);
    }
    return {
      info: {
        inputs: session?.inputs ?? [],
        outputs: session?.outputs ?? [],
        ...(steady?.isSteady === true && { steady: true }),
      },
      run: (items, sink) => runner.run(items, sink),
      close: async () => session?.release(),
    };
  } catch (error) {
    session?.release();
    throw error;
  }
}

const NO_MODEL: ModelBinding = {
  inputs: [],
  outputs: [],
  run: () =>
    Promise.reject(
      new MarlineError('MODEL_INVALID', {
        reason: 'The archive has no model file to run; name an .onnx file as serializedFile.',
      }),
    ),
};

async function loadHandler(handler: WorkerModel['handler']): Promise<BaseHandler | undefined> {
  if (handler.kind === 'none') return undefined;
  if (handler.kind === 'module') return loadHandlerModule(new URL(handler.url), handler.exportName);
  const found = createBuiltinHandler(handler.name);
  if (found === undefined) {
    throw new MarlineError('HANDLER_NOT_FOUND', {
      reason: `There is no built-in handler "${handler.name}".`,
    });
  }
  return found;
}

/**
 * The first run allocates and is slow. It uses made-up inputs, so its failure tells nothing about real requests.
 * @returns the inputs that the model took
 */
function warmUp(session: OnnxSession, host: WorkerHost): Tensors | undefined {
  let refusal = 'its inputs are too large to make up';
  for (const sample of sampleInputs(session.inputs)) {
    try {
      session.run(sample);
      return sample;
    } catch (error) {
      refusal = messageOf(error);
    }
  }
  host.log('warn', `The model was not warmed up, so its first request is slower: ${refusal}`);
  return undefined;
}
