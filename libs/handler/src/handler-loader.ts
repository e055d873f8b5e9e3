import { register } from 'node:module';
import { basename } from 'node:path';
import { MarlineError, messageOf } from '#libs/common';
import { BaseHandler, type HandlerRequest } from './base-handler.js';
import type { ModelContext, RequestsContext } from './context.js';

type HandlerClass = new () => BaseHandler;
type Handle = (
  requests: readonly HandlerRequest[],
  context: RequestsContext,
) => readonly unknown[] | Promise<readonly unknown[]>;
type Initialize = (context: ModelContext) => void | Promise<void>;

let hookRegistered = false;

/**
 * Loads a handler from a JavaScript module and makes an instance of it. In a worker thread only: the module's code runs,
 * and `marline/handler` resolves to this package for the rest of the thread.
 *
 * The module exports a class that extends `BaseHandler` (as default, or as its only one), or a function
 * `handle(requests, context)` with, if it likes, `initialize(context)`. CommonJS modules may export the same, but cannot
 * `require` an ES module such as `marline/handler` by this name.
 * @param exportName the class or function to take, when the module exports several
 * @throws MarlineError `HANDLER_INVALID` that names the file and says what was found; what the module threw is its cause
 */
export async function loadHandlerModule(url: URL, exportName?: string): Promise<BaseHandler> {
  if (!hookRegistered) {
    // Costs some 50 ms and a helper thread, which is why only workers that load such a module have it.
    register('./resolve-hook.js', import.meta.url, {
      data: { entry: new URL('./worker.js', import.meta.url).href },
    });
    hookRegistered = true;
  }
  const file = basename(url.pathname);
  const found = pick(await exportsOf(url, file), file, exportName);
  if (!isHandlerClass(found)) return found;
  try {
    return new found();
  } catch (cause) {
    throw invalid(
      `The constructor of ${found.name} in ${file} threw ${nameOf(cause)}; a handler of an archive is made without arguments.`,
      cause,
    );
  }
}

async function exportsOf(url: URL, file: string): Promise<ReadonlyMap<string, unknown>> {
  try {
    const module = (await import(url.href)) as Readonly<Record<string, unknown>>;
    const common = module['default'];
    // module.exports = { handle } of a CommonJS file is the default export, and Node may not see the names in it.
    const nested = typeof common === 'object' && common !== null ? Object.entries(common) : [];
    return new Map([...nested, ...Object.entries(module)]);
  } catch (cause) {
    throw invalid(`${file} cannot be imported: ${nameOf(cause)}.${hintFor(cause)}`, cause);
  }
}

function pick(
  exports: ReadonlyMap<string, unknown>,
  file: string,
  exportName?: string,
): HandlerClass | BaseHandler {
  if (exportName !== undefined) {
    const values = [...exports.values()];
    const wanted =
      exports.get(exportName) ??
      values.find((value) => typeof value === 'function' && value.name === exportName);
    if (isHandlerClass(wanted)) return wanted;
    if (isPlainFunction(wanted)) return new FunctionHandler(wanted as Handle, exports.get('initialize'));
    throw invalid(`${file} exports no handler named ${exportName}${listOf(exports)}`);
  }
  const fallback = exports.get('default');
  if (isHandlerClass(fallback)) return fallback;
  const classes = [...new Set([...exports.values()].filter(isHandlerClass))];
  const [only] = classes;
  if (classes.length > 1) {
    throw invalid(
      `${file} exports several handlers (${classes.map((own) => own.name).join(', ')}); export one of them as default.`,
    );
  }
  if (only !== undefined) return only;
  const handle = exports.get('handle') ?? fallback;
  if (isPlainFunction(handle)) return new FunctionHandler(handle as Handle, exports.get('initialize'));
  throw invalid(
    `${file} exports no class that extends BaseHandler of marline/handler and no function handle(requests, context)${listOf(exports)}`,
  );
}

/** A module in function style, which always sees the whole batch. */
class FunctionHandler extends BaseHandler {
  override readonly handle: Handle;

  constructor(
    handle: Handle,
    private readonly start: unknown,
  ) {
    super();
    this.handle = handle;
  }

  override async initialize(context: ModelContext): Promise<void> {
    if (isPlainFunction(this.start)) await (this.start as Initialize)(context);
  }
}

function isHandlerClass(value: unknown): value is HandlerClass {
  return typeof value === 'function' && value.prototype instanceof BaseHandler;
}

function isPlainFunction(value: unknown): value is (...args: never) => unknown {
  return typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value));
}

function listOf(exports: ReadonlyMap<string, unknown>): string {
  const names = [...exports].map(([name, value]) => `${name} (${typeof value})`);
  return names.length === 0 ? '; it exports nothing.' : `; it exports ${names.join(', ')}.`;
}

/** An error as a caller may read it. Texts can hold paths of this machine, so only those that cannot are shown; the cause has them all. */
function nameOf(error: unknown): string {
  if (error instanceof SyntaxError) return `SyntaxError: ${error.message}`;
  return error instanceof Error ? error.name : `a ${typeof error}`;
}

function hintFor(cause: unknown): string {
  const missing = /^Cannot find (?:package|module) '([^'/][^']*)'/.exec(messageOf(cause))?.[1];
  if (missing === undefined) return '';
  if (missing !== 'marline/handler') return ` It imports "${missing}", which the archive does not carry.`;
  return ' A CommonJS file cannot require marline/handler: write it as an ES module (.mjs) that imports it.';
}

function invalid(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('HANDLER_INVALID', { reason }, cause === undefined ? undefined : { cause });
}
