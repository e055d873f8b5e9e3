import { BaseHandler } from './base-handler.js';
import { ImageClassifier } from './builtin/image-classifier.js';
import { ImageSegmenter } from './builtin/image-segmenter.js';
import { ObjectDetector } from './builtin/object-detector.js';
import { TextClassifier } from './builtin/text-classifier.js';

const BUILTIN: Readonly<Record<string, () => BaseHandler>> = {
  image_classifier: () => new ImageClassifier(),
  image_segmenter: () => new ImageSegmenter(),
  object_detector: () => new ObjectDetector(),
  tensor: () => new BaseHandler(),
  text_classifier: () => new TextClassifier(),
};

/** The names of the handlers that need no code: TorchServe's, for ONNX models, and `tensor` for named tensors in JSON. */
export const BUILTIN_HANDLERS: readonly string[] = Object.keys(BUILTIN);

/** A new instance of a built-in handler; `undefined` when there is none of that name. */
export function createBuiltinHandler(name: string): BaseHandler | undefined {
  return Object.hasOwn(BUILTIN, name) ? BUILTIN[name]?.() : undefined;
}
