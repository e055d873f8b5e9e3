/** What echo_handler.py of TorchServe's recordings does, in JavaScript, with Python's names of types; it does not see the content types of parameters. */
export function handle(requests, context) {
  if (requests === null) return null;
  return requests.map((row, index) => {
    if (!isNamed(row)) return { row: shown(row) };
    const fields = Object.fromEntries(Object.entries(row).map(([name, value]) => [name, shown(value)]));
    return { fields, headers: context.getAllRequestHeaders(index) };
  });
}

function isNamed(row) {
  return typeof row === 'object' && row !== null && !Array.isArray(row) && !(row instanceof Uint8Array);
}

function shown(value) {
  if (!(value instanceof Uint8Array)) return { type: typeOf(value), value };
  const bytes = { type: 'bytearray', len: value.length };
  try {
    return { ...bytes, utf8: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value) };
  } catch {
    return { ...bytes, base64: Buffer.from(value).toString('base64') };
  }
}

function typeOf(value) {
  if (value === null) return 'NoneType';
  if (Array.isArray(value)) return 'list';
  if (typeof value === 'object') return 'dict';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float';
  return { string: 'str', boolean: 'bool' }[typeof value];
}
