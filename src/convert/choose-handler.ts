import { MarlineError } from '#libs/common';
import { handlerModule, readPythonHandler } from './python-handler.js';

/** The handler of the converted archive. */
export interface HandlerChoice {
  readonly handler: string;
  /** Why, or what differs from the Python one. */
  readonly note: string;
}

/** What the choice depends on. */
export interface HandlerQuestion {
  readonly modelName: string;
  /** The handler of the archive's manifest. */
  readonly handler: string | undefined;
  /** The text of the handler's file; `undefined` when the archive has none, so that it is one of TorchServe's own. */
  readonly source: string | undefined;
  /** The handler that the user gave. */
  readonly given: string | undefined;
}

/** TorchServe's handlers that have one here. */
const REPLACEMENTS: Readonly<Record<string, HandlerChoice>> = {
  image_classifier: { handler: 'image_classifier', note: "same requests and answers as TorchServe's" },
  base_handler: {
    handler: 'tensor',
    note: "in place of base_handler; requests and answers are the open inference protocol's named tensors",
  },
};

/**
 * Chooses the handler that replaces the Python one: the given one, or the built-in one that does the same.
 * @throws MarlineError `HANDLER_NOT_FOUND` when there is none; it tells what to write instead
 */
export function chooseHandler({ modelName, handler, source, given }: HandlerQuestion): HandlerChoice {
  const replaced = handler === undefined ? 'the archive names none' : `in place of ${handler}`;
  if (given !== undefined) return { handler: given, note: replaced };
  if (handler === undefined)
    throw notFound(`The archive names no handler. Name one with --handler, such as --handler tensor.`);
  const name = handlerModule(handler);
  if (source === undefined) {
    if (Object.hasOwn(REPLACEMENTS, name)) return REPLACEMENTS[name] as HandlerChoice;
    throw notFound(
      `TorchServe's handler ${name} has no counterpart here. ${wayOut(modelName, ['preprocess', 'postprocess'])}`,
    );
  }
  const { hooks, bases } = readPythonHandler(source);
  const origin = bases.length === 0 ? '' : ` (extends ${bases.join(', ')})`;
  throw notFound(
    `The handler ${name}.py${origin} is Python code of the archive and cannot come along. ` +
      wayOut(modelName, hooks.length === 0 ? ['preprocess', 'postprocess'] : hooks),
  );
}

function wayOut(modelName: string, hooks: readonly string[]): string {
  return (
    `Write its ${hooks.join(', ')} as a JavaScript handler ("marline handler new ${modelName}" writes the skeleton) ` +
    'and name the file with --handler, or take bare tensors with --handler tensor.'
  );
}

function notFound(reason: string): MarlineError {
  return new MarlineError('HANDLER_NOT_FOUND', { reason });
}
