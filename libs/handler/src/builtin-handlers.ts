import { BaseHandler } from './base-handler.js';
import { ImageClassifier } from './builtin/image-classifier.js';

const BUILTIN: Readonly<Record<string, () => BaseHandler>> = {
  image_classifier: () => new ImageClassifier(),
  tensor: () => new BaseHandler(),
};

/** The names of the handlers that need no code: `image_classifier` as in TorchServe, and `tensor` for named tensors in JSON. */
export const BUILTIN_HANDLERS: readonly string[] = Object.keys(BUILTIN);

/** A new instance of a built-in handler; `undefined` when there is none of that name. */
export function createBuiltinHandler(name: string): BaseHandler | undefined {
  return Object.hasOwn(BUILTIN, name) ? BUILTIN[name]?.() : undefined;
}
