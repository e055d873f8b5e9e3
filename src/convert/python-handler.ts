/** A handler's file as far as it can be told without running it. */
export interface PythonHandler {
  /** The hooks of a JavaScript handler that take the place of its own, in the order in which they run. */
  readonly hooks: readonly string[];
  /** The classes that it extends, as it spells them. */
  readonly bases: readonly string[];
}

const HOOKS: Readonly<Record<string, string>> = {
  initialize: 'initialize',
  preprocess: 'preprocess',
  inference: 'inference',
  postprocess: 'postprocess',
  handle: 'handle',
  explain_handle: 'explain',
  get_insights: 'explain',
};
const ORDER = ['initialize', 'preprocess', 'inference', 'postprocess', 'handle', 'explain'];

/** What TorchServe's own base class does nothing of its own in; all others bring steps along that ours lack. */
const PLAIN_BASES = ['object', 'ABC', 'BaseHandler'];

/** Reads which hooks a Python handler has; a class that extends one of TorchServe's handlers has the steps of that as well. */
export function readPythonHandler(source: string): PythonHandler {
  const methods = [...source.matchAll(/^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)[ \t]*\(/gm)].map(
    ([, name = '']) => name,
  );
  const bases = [...source.matchAll(/^class[ \t]+\w+[ \t]*\(([^()\n]{1,200})\)/gm)]
    .flatMap(([, list = '']) => list.split(','))
    .map((base) => base.trim().split('.').at(-1) ?? '')
    .filter((base) => base !== '' && !base.includes('='));
  const own = methods.flatMap((name) => (Object.hasOwn(HOOKS, name) ? [HOOKS[name]] : []));
  const inherited = bases.some((base) => !PLAIN_BASES.includes(base)) ? ['preprocess', 'postprocess'] : [];
  const found = new Set([...own, ...inherited]);
  return { hooks: ORDER.filter((hook) => found.has(hook)), bases: [...new Set(bases)] };
}

/** The module that TorchServe imports for a handler: `dir/my_handler.py:entry` → `my_handler`. */
export function handlerModule(handler: string): string {
  const [path = ''] = handler.split(':');
  return (path.split('/').at(-1) ?? '').replace(/\.py$/, '');
}
