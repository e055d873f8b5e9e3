import { lstatSync, realpathSync } from 'node:fs';
import { resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Injectable, type OnModuleInit, type Type } from '@nestjs/common';
import { DiscoveryService, ModuleRef } from '@nestjs/core';
import type { ModelArchive } from '#libs/archive';
import { MarlineError } from '#libs/common';
import { BaseHandler } from './base-handler.js';
import { BUILTIN_HANDLERS } from './builtin-handlers.js';
import { handlerMarkOf, type ModelHandlerMark } from './model-handler.js';

/** How a worker gets its handler; `none` when it only runs tensors for a handler of the host application. */
export type WorkerHandlerRef =
  | { readonly kind: 'builtin'; readonly name: string }
  | { readonly kind: 'module'; readonly url: string; readonly exportName?: string }
  | { readonly kind: 'none' };

/** Where the handler of an archive runs. */
export type HandlerPlan =
  | { readonly runs: 'worker'; readonly handler: WorkerHandlerRef }
  | { readonly runs: 'host'; readonly name: string; create(): Promise<BaseHandler> }
  | { readonly runs: 'python'; readonly handler: string }
  | { readonly runs: 'nowhere'; readonly error: MarlineError };

/** TorchServe's handlers of PyTorch models that have a name in common with one of ours. */
const PYTHON_HANDLERS: ReadonlySet<string> = new Set([
  'image_classifier',
  'image_segmenter',
  'object_detector',
  'text_classifier',
]);
const PYTHON_RUNTIMES: ReadonlySet<string> = new Set(['python', 'python3']);

interface Offered {
  readonly mark: ModelHandlerMark;
  readonly type: Type<BaseHandler>;
  /** The reference of the module that provides the class: it sees that module's own providers. */
  readonly moduleRef: ModuleRef | undefined;
}

/** Knows the handlers of the host application, and decides which handler serves an archive, and where. */
@Injectable()
export class HandlerRegistry implements OnModuleInit {
  readonly #offered = new Map<string, Offered>();

  constructor(private readonly discovery: DiscoveryService) {}

  /**
   * Finds the providers that `@ModelHandler` marks.
   * @throws MarlineError `OPTIONS_INVALID` for a name that is taken, and for a class that cannot run where it is marked to
   */
  onModuleInit(): void {
    for (const { metatype, host } of this.discovery.getProviders()) {
      const mark = handlerMarkOf(metatype);
      if (mark === undefined) continue;
      const type = metatype as Type<BaseHandler>;
      this.#offer({
        mark,
        type,
        moduleRef: host?.providers.get(ModuleRef)?.instance as ModuleRef | undefined,
      });
    }
  }

  /** The names of the host application's handlers. */
  names(): string[] {
    return [...this.#offered.keys()];
  }

  /**
   * The rule, first match first: a handler of the host application; a built-in handler with an `.onnx` file; and, of an
   * archive whose code may run, a `.js` or `.mjs` file, and else a Python handler: a file, or one of TorchServe's by name.
   * @param overrides what a registration asks for instead of what the manifest says
   */
  plan(
    archive: ModelArchive,
    overrides: { readonly handler?: string; readonly runtime?: string },
  ): HandlerPlan {
    const { model, runtime } = archive.manifest;
    const handler = overrides.handler ?? model.handler;
    if (handler === undefined || handler === '') {
      return nowhere('HANDLER_NOT_FOUND', `The archive names no handler. ${this.#wayOut()}`);
    }
    const offered = this.#offered.get(handler);
    if (offered !== undefined) return planOf(offered);
    if (BUILTIN_HANDLERS.includes(handler)) {
      if (model.serializedFile?.endsWith('.onnx') === true)
        return { runs: 'worker', handler: { kind: 'builtin', name: handler } };
      if (!PYTHON_HANDLERS.has(handler)) {
        const file =
          model.serializedFile === undefined ? 'no serialized file' : `the file ${model.serializedFile}`;
        return nowhere(
          'RUNTIME_UNSUPPORTED',
          `The handler "${handler}" runs ONNX models, and the archive has ${file}: export the model as .onnx.`,
        );
      }
    }
    const [file = '', exportName] = handler.split(':');
    const isModule = /\.m?js$/.test(file);
    const asked = overrides.runtime ?? runtime ?? 'python';
    if (!isModule && !PYTHON_RUNTIMES.has(asked)) {
      const reason = `The handler "${handler}" (runtime ${asked}) cannot be served: there are workers for Python and for JavaScript. ${this.#wayOut()}`;
      return nowhere('RUNTIME_UNSUPPORTED', reason);
    }
    if (!archive.trusted) {
      const reason =
        `The handler ${handler} is code, and code runs only from archives of the model store or with a pinned digest. ` +
        'Put the archive into the model store to trust it.';
      return nowhere('ARCHIVE_UNSAFE', reason);
    }
    return isModule ? moduleOf(archive, file, exportName) : { runs: 'python', handler };
  }

  #wayOut(): string {
    const names = this.names();
    const host =
      names.length === 0
        ? 'an @ModelHandler class of the application'
        : `a handler of the application (${names.join(', ')})`;
    return `Use a built-in handler (${BUILTIN_HANDLERS.join(', ')}) with an .onnx file, a Python (.py) or JavaScript handler (.mjs), or ${host}.`;
  }

  #offer(offered: Offered): void {
    const { mark, type } = offered;
    const problem = this.#problemWith(offered);
    if (problem !== undefined)
      throw new MarlineError('OPTIONS_INVALID', {
        reason: `@ModelHandler('${mark.name}') on ${type.name}: ${problem}`,
      });
    this.#offered.set(mark.name, offered);
  }

  #problemWith({ mark, type, moduleRef }: Offered): string | undefined {
    const { name, runs, module } = mark;
    const other = this.#offered.get(name);
    if (typeof name !== 'string' || name === '') return 'a handler needs a name.';
    if (BUILTIN_HANDLERS.includes(name)) return 'this is the name of a built-in handler; choose another.';
    if (other !== undefined && other.type === type)
      return 'the class is a provider of two modules; list it in one of them.';
    if (other !== undefined) return `${other.type.name} has this name already; choose another.`;
    if (!(type.prototype instanceof BaseHandler)) return 'the class does not extend BaseHandler.';
    if (runs === 'host') return moduleRef === undefined ? 'the class belongs to no module.' : undefined;
    if (runs !== 'worker') return `runs is 'host' or 'worker', not ${JSON.stringify(runs)}.`;
    if (module === undefined)
      return "runs: 'worker' needs module: import.meta.url, the file that the worker imports.";
    if (type.length > 0 || injectedOf(type) > 0) {
      return "nothing can be injected in a worker; take the constructor's parameters away, or leave out runs: 'worker'.";
    }
    return undefined;
  }
}

function planOf({ mark, type, moduleRef }: Offered): HandlerPlan {
  if (mark.runs === 'worker' && mark.module !== undefined) {
    return { runs: 'worker', handler: { kind: 'module', url: mark.module, exportName: type.name } };
  }
  const create = async (): Promise<BaseHandler> => {
    if (moduleRef === undefined)
      throw new MarlineError('HANDLER_NOT_FOUND', {
        reason: `The handler "${mark.name}" belongs to no module.`,
      });
    return moduleRef.create(type);
  };
  return { runs: 'host', name: mark.name, create };
}

function moduleOf(archive: ModelArchive, file: string, exportName: string | undefined): HandlerPlan {
  const path = resolve(archive.dir, file);
  if (!isFileWithin(archive.dir, path))
    return nowhere(
      'HANDLER_NOT_FOUND',
      `The archive has no file ${file}, which its manifest names as handler.`,
    );
  const url = pathToFileURL(path).href;
  return {
    runs: 'worker',
    handler: { kind: 'module', url, ...(exportName === undefined ? {} : { exportName }) },
  };
}

/** True for a regular file that lies below the folder, also once links on the way are followed. */
function isFileWithin(dir: string, path: string): boolean {
  try {
    return lstatSync(path).isFile() && realpathSync(path).startsWith(realpathSync(dir) + sep);
  } catch {
    return false;
  }
}

/** How many parameters of the constructor would be injected: parameters with defaults do not count in `length`. */
function injectedOf(type: Type): number {
  const types: unknown = Reflect.getMetadata('design:paramtypes', type);
  return Array.isArray(types) ? types.length : 0;
}

function nowhere(
  code: 'HANDLER_NOT_FOUND' | 'RUNTIME_UNSUPPORTED' | 'ARCHIVE_UNSAFE',
  reason: string,
): HandlerPlan {
  return { runs: 'nowhere', error: new MarlineError(code, { reason }) };
}
