/** What describe_handler.py of TorchServe's recordings does, in JavaScript. */
export function handle(requests, context) {
  if (context.getRequestHeader(0, 'describe') === 'True') return [{ data1: '1', data2: [1, 2, 3] }];
  const explained = context.getRequestHeader(0, 'explain') === 'True';
  return requests.map(() => ({ explained }));
}
