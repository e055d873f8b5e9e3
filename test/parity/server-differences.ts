import type { Difference } from './differences.js';

/** How the command line and the start differ from TorchServe's, by the names in server.jsonl; {@link Difference} has the rules. */
export const SERVER_DIFFERENCES: readonly Difference[] = [
  { reason: 'It is another program.', records: ['version', 'version-short'] },
  {
    reason: 'A wrong command line is explained in the words of another parser, with the same exit code.',
    records: ['unknown-option', 'start-and-stop', 'start-and-version', 'models-without-value'],
  },
  { reason: 'There is no Java here: it starts without.', records: ['bad-java-home'] },
  {
    reason: 'Who is refused as the second one is told which process is the first.',
    records: ['start-twice'],
  },
  {
    reason:
      'Files are loaded in the order of their names, so that the same version is the default at every start.',
    records: ['models-all', 'models-ALL'],
  },
  {
    reason: 'The same model twice: the first one serves, the second one is logged.',
    records: ['models-dup'],
  },
  { reason: 'The file of a missing variable is named.', records: ['conf-missing-env-var'] },
  {
    reason: 'What the configuration says wrongly is found at the start, and named.',
    records: [
      'conf-bad-number',
      'conf-bad-allowed-urls',
      'conf-bad-metrics-mode',
      'conf-bad-metrics-config',
      'conf-bad-models-json',
      'conf-same-grpc-port',
    ],
  },
];

/** Lines of TorchServe's start that ours does not have, by their beginning, and why. */
export const STARTUP_DIFFERENCES: readonly { readonly reason: string; readonly lines: readonly string[] }[] =
  [
    {
      reason: 'There is neither Java nor Netty here, nor a C++ backend.',
      lines: [
        'Max heap size',
        'Netty threads',
        'Netty client threads',
        'Prefer direct buffer',
        'CPP log config',
        'Initialize',
      ],
    },
    {
      reason: 'It is another program, in another folder.',
      lines: ['Torchserve version', 'TS Home', 'Metrics config path'],
    },
    {
      reason: 'The value is told with its unit, or as it is written and not as it works out.',
      lines: [
        'Default workers per model',
        'Maximum Response Size',
        'Maximum Request Size',
        'Blacklist Regex',
        'Model config',
      ],
    },
    { reason: 'The defaults are others.', lines: ['Allowed Urls', 'Metrics mode'] },
    { reason: 'No value is called none.', lines: ['Initial Models', 'Python executable'] },
    {
      reason: 'There is no such thing here.',
      lines: [
        'Workflow Store',
        'System metrics command',
        'Log dir',
        'Metrics dir',
        'Temp directory',
        'Current directory',
      ],
    },
  ];
