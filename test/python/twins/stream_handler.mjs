/** What stream_handler.py of TorchServe's recordings does, in JavaScript: the body word by word. */
export async function handle(requests, context) {
  const [{ data, body = '' }] = requests;
  const text = data ?? body;
  const words = (text instanceof Uint8Array ? new TextDecoder().decode(text) : String(text)).split(/\s+/);
  const said = words.filter((word) => word !== '');
  context.setResponseContentType(0, 'text/plain');
  for (const word of said.slice(0, -1)) await context.sendIntermediateResponse(0, `${word} `);
  return [said.at(-1) ?? ''];
}
