/** A way in which this version answers otherwise than TorchServe 0.12, and why. */
export interface Difference {
  readonly reason: string;
  /** True for what this version does not do yet; all else is on purpose. */
  readonly notYet?: true;
  /** `run/name` of the records that show it. */
  readonly records: readonly string[];
}

const MAIN = 'management-main';
const INFERENCE = 'inference-main';
const GRPC = 'grpc-main';
const SINGLE = 'errors-single';
const within = (run: string, ...names: string[]) => names.map((name) => `${run}/${name}`);

/**
 * Every recorded answer that ours is not, in one table: a replay fails when an answer differs that is not here, and when
 * one that is here differs no longer.
 */
export const DIFFERENCES: readonly Difference[] = [
  {
    reason: 'A client that says "Connection: close" is told that it is closed.',
    records: within(INFERENCE, 'ping-connection-close'),
  },
  {
    reason: 'A request line with an absolute URI means its path, as HTTP/1.1 asks for.',
    records: within(INFERENCE, 'absolute-uri'),
  },
  {
    reason: 'A multipart body that is broken is refused with 400; TorchServe gives the handler no fields.',
    records: within(INFERENCE, 'echo-mp-broken'),
  },
  {
    reason: "Methods that are none of HTTP's are refused.",
    records: within(INFERENCE, 'echo-odd-method'),
  },
  {
    reason:
      'A stream to a client of HTTP/1.0, which knows no chunks, is its bytes and then the end of the connection.',
    records: within(INFERENCE, 'stream-http10'),
  },
  {
    reason:
      'The open inference protocol is served as it says, with and without ts_open_inference_protocol: models, versions, its methods and its own errors.',
    records: [
      ...within(INFERENCE, 'v2-unknown', 'v2-health-live', 'v2-root', 'v2-model-ready'),
      ...within('kserve-v2', 'v2-versions', 'v2-health'),
      ...within('kserve-oip', 'oip-server-slash', 'oip-model'),
      ...within('kserve-oip', 'oip-model-ready', 'oip-model-version-ready', 'oip-model-version'),
      ...within('kserve-oip', 'oip-infer-version'),
    ],
  },
  {
    reason:
      'A request that is no HTTP for Node.js is refused: a version, protocol or method that does not exist, lines without CR, raw UTF-8 in a path, two lengths of one body, a negative one.',
    records: within(
      'errors-raw',
      'raw-bad-version',
      'raw-bad-protocol',
      'raw-lower-method',
      'raw-lf-only',
      'raw-utf8-path',
      'raw-cl-and-te',
      'raw-negative-content-length',
    ),
  },
  {
    reason: 'The connection of a client that takes the server for a proxy (CONNECT) is closed.',
    records: within('errors-raw', 'raw-connect'),
  },
  {
    reason: 'Requests that are sent at once are answered in their order.',
    records: within('errors-raw', 'raw-pipelined'),
  },
  {
    reason: 'A request whose clientTimeoutInMills has passed is answered 504; TorchServe never answers it.',
    records: within('errors-queue', 'ctimeout-0', 'ctimeout-1', 'ctimeout-2'),
  },
  {
    reason: 'What was accepted is answered before its model is unregistered or scaled to 0.',
    records: within('errors-queue', 'inflight-predict', 'inflight-queued', 'scale0-predict'),
  },
  {
    reason:
      'A wrong JSON body is the fault of the caller: 400 with a clear text instead of a Java exception.',
    records: within(
      MAIN,
      'register-json-broken',
      'register-json-array',
      'register-json-empty',
      'register-json-wrong-type',
    ),
  },
  {
    reason:
      'A negative number of workers is refused with 400; TorchServe fails with a Java exception and keeps the number.',
    records: within(MAIN, 'scale-negative', 'describe-after-negative'),
  },
  {
    reason:
      'A download never lands in the model store, so that it is no obstacle for another one of its name.',
    records: within(MAIN, 'register-http-again', 'register-http-badmanifest-again', 'list-after-urls'),
  },
  {
    reason: 'The key of a request is not passed on to the handler: whoever wrote one needs none.',
    records: [
      ...within('auth-on', 'inference-good', 'inference-two-spaces', 'echo-good-sees-header'),
      ...within('auth-single-port', 'one-port-predict-inference-key'),
    ],
  },
  {
    reason: 'The token API is what stands at /token, not whatever has that text in it.',
    records: within('auth-on', 'token-path-inside'),
  },
  {
    reason: 'On one port for all, each API asks for its own key, so that all can be reached.',
    records: within('auth-single-port', 'one-port-models-management-key', 'one-port-token-api-key'),
  },
  {
    reason: 'On one port for all, versions can be described, scaled and unregistered, too.',
    records: within(
      SINGLE,
      'single-get-models_echo_1.0',
      'single-put-models_echo_1.0',
      'single-delete-models_echo_1.0',
    ),
  },
  {
    reason: '"OPTIONS *" is an unknown resource, not a Java exception.',
    records: within(MAIN, 'options-star'),
  },
  {
    reason: 'Workflows are not served by this version.',
    notYet: true,
    records: [
      ...within(MAIN, 'workflows-list'),
      ...within('management-noapi', 'workflow-register'),
      ...within(SINGLE, 'single-get-workflows'),
      ...within(INFERENCE, 'wfpredict-unknown', 'wfpredict-version', 'wfpredict-options'),
    ],
  },
  {
    reason:
      "metrics_mode is prometheus unless the configuration says otherwise; TorchServe's is log, and its /metrics is empty then.",
    records: within('metrics-log', 'get-metrics', 'get-metrics-filter'),
  },
  {
    reason:
      'Where TorchServe forgot an error of its gRPC services (UNKNOWN without a text), ours has a status and says what is wrong.',
    records: within(GRPC, 'register-duplicate', 'scale-no-name', 'unregister-default'),
  },
  {
    reason:
      'A sequence over gRPC ends when its client says so; TorchServe ends it with every request, so that nothing is ever summed up.',
    records: within(GRPC, 'stream2-sum'),
  },
  {
    reason:
      'StreamPredictions2 goes on after a request that failed, and answers for models without sequences, too.',
    records: [...within(GRPC, 'stream2-unknown'), ...within('grpc-odd', 'stream2-on-plain-model')],
  },
  {
    reason:
      'Predictions on a handler that streams has all parts of the answer; TorchServe has the first, and hangs afterwards.',
    records: within('grpc-odd', 'stream-handler-on-unary', 'after-stream-handler-on-unary'),
  },
  {
    reason:
      'StreamPredictions on a handler that does not stream has one message; in TorchServe it costs the worker.',
    records: within('grpc-odd', 'stream-rpc-on-plain-handler', 'stream-rpc-one-word'),
  },
  {
    reason:
      'The open inference protocol over gRPC is always served, with metadata of the server, raw contents and a text for what is wrong.',
    records: [
      ...within(GRPC, 'oip-metadata', 'oip-infer-noenvelope'),
      ...within('grpc-kservev2', 'infer-bad-shape', 'infer-raw'),
      ...within('grpc-noapi', 'noapi-oip'),
    ],
  },
];
