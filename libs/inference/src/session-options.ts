import type { InferenceSession } from 'onnxruntime-node';
import type { SessionPlan } from './worker-model.js';

/** ONNX Runtime prints nothing: an error is thrown with the same text, and callers must not fill the server's error output. */
const LOG_FATAL_ONLY = 4;

/**
 * Without it int8 weights overflow on x86 CPUs that have AVX2 but no VNNI: EfficientNet-lite0 as int8 saw its cup of espresso with 0.41 in
 * place of 0.95. Such a CPU takes 1.28 times as long for the right answer (AMD EPYC, ten rounds by turns); on all others it changes nothing.
 */
const EXACT_INT8 = { x64quantprecision: '1' } as const;

/**
 * The options of a worker's session. Threads are set explicitly, because ONNX Runtime sizes its pools to the host and not to
 * the container; spinning is off, because it costs five times the CPU (21 against 4.3 ms per item, two workers with four threads).
 */
export function sessionOptions(plan: Omit<SessionPlan, 'path'>): InferenceSession.SessionOptions {
  return {
    executionProviders:
      plan.executionProvider === 'cuda' ? [{ name: 'cuda', deviceId: plan.deviceId ?? 0 }, 'cpu'] : ['cpu'],
    intraOpNumThreads: plan.intraOpThreads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    // A planned block of memory per input shape costs a worker of a ResNet-50 6 MB and saves no time that can be measured.
    enableMemPattern: false,
    logSeverityLevel: LOG_FATAL_ONLY,
    // Optimising the shared form again would copy the weights that it maps.
    graphOptimizationLevel: plan.shared ? 'disabled' : 'all',
    extra: {
      session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' }, ...EXACT_INT8 },
    },
  };
}

/** Names of the two files of the form that workers share. */
export const SHARED_FILES = { model: 'model.onnx', weights: 'model.weights' } as const;

/** What decides how the shared form is written, beside the model, the runtime and the CPU: part of the cache's key. */
export const SHARED_FORM = {
  optimized_model_external_initializers_file_name: SHARED_FILES.weights,
  optimized_model_external_initializers_min_size_in_bytes: '1024',
  // Weights in the layout that the kernels want are stored as well, so that no worker makes a private copy of them.
  save_external_prepacked_constant_initializers: '1',
  ...EXACT_INT8,
} as const;

/** The options that make a session write its optimised form to `path`, with the weights in a file beside it. */
export function sharingOptions(path: string, intraOpThreads: number): InferenceSession.SessionOptions {
  const options = sessionOptions({ executionProvider: 'cpu', deviceId: null, shared: false, intraOpThreads });
  const session = { ...(options.extra?.['session'] as Record<string, unknown>), ...SHARED_FORM };
  return { ...options, optimizedModelFilePath: path, extra: { session } };
}
