const NOT_YET = 'this version does not have it yet';

/** TorchServe's keys that have no effect here, by the reason. */
const WITHOUT_EFFECT: Readonly<Record<string, string>> = {
  'there is no Java here':
    'vmargs number_of_netty_threads netty_client_threads prefer_direct_buffer io_ratio model_server_home plugins_path NUM_WORKERS debug version',
  'workers are threads, or processes that are given sockets and ports of their own':
    'initial_worker_port initial_distribution_port',
  'log files are always written in the background': 'async_logging',
  'it is for Log4j; log_format says what lines look like, and LOG_LOCATION where the files are': 'log_config',
  'there is no C++ backend here': 'cpp_log_config',
  'handlers run as they are, and ONNX Runtime places its own threads':
    'ipex_enable ipex_gpu_enable cpu_launcher_enable cpu_launcher_args',
  'an archive names its handler': 'default_service_handler',
  'the open inference protocol is always served': 'ts_open_inference_protocol',
  'accepted requests are answered within drain_timeout_ms': 'unregister_model_timeout',
  'the metrics of the system are read here': 'system_metrics_cmd',
  [NOT_YET]: 'workflow_store',
};

const REASONS = new Map(
  Object.entries(WITHOUT_EFFECT).flatMap(([reason, keys]) =>
    keys.split(/\s+/).map((key) => [key, reason] as const),
  ),
);

/** Why a key of TorchServe has no effect here; `undefined` for one that TorchServe does not know either. */
export function reasonWithoutEffect(key: string): string | undefined {
  return REASONS.get(key);
}
