/** What bad_handler.py of TorchServe's recordings does, in JavaScript: it never loads. */
export function initialize() {
  throw new Error('initialize failed on purpose');
}

export function handle(requests) {
  return requests.map(() => 'never');
}
