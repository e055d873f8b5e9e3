/** A way in which this version answers otherwise than TorchServe 0.12, and why. */
export interface Difference {
  readonly reason: string;
  /** `run/name` of the records that show it. */
  readonly records: readonly string[];
}

const MAIN = 'management-main';
const VERSIONS = 'management-versions';
const within = (run: string, ...names: string[]) => names.map((name) => `${run}/${name}`);

/**
 * Every recorded answer that ours is not, in one table: a replay fails when an answer differs that is not here, and when
 * one that is here differs no longer.
 */
export const DIFFERENCES: readonly Difference[] = [
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
    reason: 'The error of an archive says what is wrong with it.',
    records: within(MAIN, 'register-zipslip', 'register-war'),
  },
  {
    reason: 'Archives come from the model store only: URLs are refused until remote sources can be allowed.',
    records: [
      ...within(
        MAIN,
        'register-file-url',
        'register-file-url-outside',
        'register-file-url-new',
        'register-file-url-again',
      ),
      ...within(
        MAIN,
        'register-http-existing',
        'register-http',
        'register-http-again',
        'register-http-same-name',
      ),
      ...within(
        MAIN,
        'register-http-redirect',
        'register-http-badzip',
        'register-http-badmanifest',
        'register-http-badmanifest-again',
      ),
      ...within(
        MAIN,
        'register-http-wide',
        'register-http-404',
        'register-http-500',
        'register-http-refused',
        'register-http-badhost',
      ),
      ...within(
        MAIN,
        'register-malformed-url',
        'register-http-query',
        'register-http-notmar',
        'register-http-after-unregister',
      ),
      ...within(MAIN, 'list-after-urls', 'describe-http', 'unregister-http', 'unregister-file-url'),
      ...within('management-allowed', 'http-allowed', 'file-allowed'),
    ],
  },
  {
    reason: 'HEAD is answered like GET without a body, as HTTP asks for.',
    records: within(MAIN, 'models-head'),
  },
  {
    reason: 'GET on set-default is a mistake, not a description: 405.',
    records: within(MAIN, 'describe-set-default-get'),
  },
  {
    reason: 'The OpenAPI documents are not served by this version.',
    records: within(
      MAIN,
      'options-model',
      'options-model-version',
      'options-model-unknown',
      'options-root',
      'api-description',
    ),
  },
  {
    reason: '"OPTIONS *" is an unknown resource, not a Java exception.',
    records: within(MAIN, 'options-star'),
  },
  {
    reason: 'Workflows are not served by this version.',
    records: [...within(MAIN, 'workflows-list'), ...within('management-noapi', 'workflow-register')],
  },
  {
    reason: "KServe's v1 routes are not served by this version.",
    records: within(MAIN, 'v1-model-ready-unknown', 'v1-model-post', 'v1-model-ready-with-worker'),
  },
  {
    reason: 'customized=true is ignored: handlers are not asked to describe their model.',
    records: within(
      MAIN,
      'describe-customized',
      'describe-customized-version',
      'describe-customized-true-case',
      'describe-customized-nohandler',
    ),
  },
  {
    reason:
      'An error names the version that failed, also when the caller did not name one; TorchServe writes "null".',
    records: within(MAIN, 'scale-bad-handler'),
  },
  {
    reason: 'Python workers do not start in this version, so models registered asynchronously are unhealthy.',
    records: within(VERSIONS, 'ping-bad-init'),
  },
  {
    reason: 'The key "models" of config.properties has no effect in this version.',
    records: within('management-models-json', 'describe-echo', 'describe-misc', 'describe-echo-2'),
  },
  {
    reason: 'CORS headers are not configurable in this version: the cors_allowed keys have no effect.',
    records: [
      ...within('management-envvars', 'list', 'describe', 'register'),
      ...within('management-envvars-off', 'list'),
    ],
  },
];
