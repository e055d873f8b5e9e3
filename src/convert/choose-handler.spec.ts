import { describe, expect, it } from 'vitest';
import { chooseHandler, type HandlerQuestion } from './choose-handler.js';

const QUESTION: HandlerQuestion = {
  modelName: 'digits',
  handler: 'image_classifier',
  source: undefined,
  given: undefined,
};

function refusal(question: Partial<HandlerQuestion>): { readonly code: string; readonly message: string } {
  try {
    chooseHandler({ ...QUESTION, ...question });
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('It was not refused.');
}

describe('the handler of a converted archive', () => {
  it("is the built-in one that does the same as TorchServe's", () => {
    expect(chooseHandler(QUESTION).handler).toBe('image_classifier');
    expect(chooseHandler({ ...QUESTION, handler: 'image_classifier:handle' }).handler).toBe(
      'image_classifier',
    );
  });

  it('is tensor for base_handler, and the note tells what differs', () => {
    const { handler, note } = chooseHandler({ ...QUESTION, handler: 'base_handler' });
    expect({ handler, note }).toMatchObject({
      handler: 'tensor',
      note: expect.stringContaining('named tensors'),
    });
  });

  it('is the given one, whatever the archive has', () => {
    const source = 'def handle(data, context):\n    pass\n';
    const choice = chooseHandler({ ...QUESTION, handler: 'mine.py', source, given: 'mine.mjs' });
    expect(choice).toEqual({ handler: 'mine.mjs', note: 'in place of mine.py' });
  });

  it('is none when a file of the archive has the name of a handler of TorchServe, as that is what TorchServe runs', () => {
    const source = 'class Mine(ImageClassifier):\n    topk = 3\n';
    const { code, message } = refusal({ handler: 'image_classifier', source });
    expect(code).toBe('HANDLER_NOT_FOUND');
    expect(message).toContain('image_classifier.py (extends ImageClassifier) is Python code of the archive');
    expect(message).toContain(
      'Write its preprocess, postprocess as a JavaScript handler ("marline handler new digits"',
    );
  });

  it.each(['text_classifier', 'object_detector', 'image_segmenter', 'toString'])(
    'is none for %s, which has no counterpart',
    (handler) => {
      expect(refusal({ handler }).message).toContain(
        `TorchServe's handler ${handler} has no counterpart here.`,
      );
    },
  );

  it('is none when the archive names none', () => {
    expect(refusal({ handler: undefined }).message).toContain('The archive names no handler.');
  });
});
