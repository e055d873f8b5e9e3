/** The keys of TorchServe 0.12's `config.properties`, so that a key without effect can be told from a misspelt one. */
const KEYS = new Set(
  `inference_address management_address metrics_address grpc_inference_address grpc_management_address
  grpc_inference_port grpc_management_port grpc_inference_max_connection_age_ms grpc_inference_max_connection_age_grace_ms
  grpc_management_max_connection_age_ms grpc_management_max_connection_age_grace_ms enable_grpc_ssl load_models model_store
  workflow_store models model_snapshot default_workers_per_model default_response_timeout default_startup_timeout
  unregister_model_timeout job_queue_size number_of_gpu number_of_netty_threads netty_client_threads max_request_size
  max_response_size limit_max_image_pixels decode_input_request default_service_handler service_envelope allowed_urls
  use_env_allowed_urls install_py_dep_per_model blacklist_env_vars prefer_direct_buffer enable_metrics_api metrics_mode
  metrics_config model_metrics_auto_detect disable_system_metrics system_metrics_cmd metric_time_interval
  enable_envvars_config cors_allowed_origin cors_allowed_methods cors_allowed_headers keystore keystore_pass keystore_type
  private_key_file certificate_file async_logging initial_worker_port initial_distribution_port model_server_home
  cpp_log_config ipex_enable ipex_gpu_enable cpu_launcher_enable cpu_launcher_args debug ts_open_inference_protocol
  token_expiration_min disable_token_authorization enable_model_api ts_header_key_sequence_id ts_header_key_sequence_start
  ts_header_key_sequence_end use_native_io io_ratio version vmargs plugins_path NUM_WORKERS`.split(/\s+/),
);

/** True when TorchServe knows the key. */
export function isTorchServeKey(key: string): boolean {
  return KEYS.has(key);
}
