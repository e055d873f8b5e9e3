import { describe, expect, it } from 'vitest';
import { handlerModule, readPythonHandler } from './python-handler.js';

describe('a Python handler', () => {
  it('has the hooks that it defines, in the order in which they run', () => {
    const source = `from ts.torch_handler.base_handler import BaseHandler

class Mine(BaseHandler, ABC):
    def postprocess(self, data):
        def handle():
            pass
        return data.tolist()

    async  def preprocess (self, data): return data
    def get_insights(self, tensor, raw, target): ...
    def preprocess_image(self): ...
`;
    expect(readPythonHandler(source)).toEqual({
      hooks: ['preprocess', 'postprocess', 'handle', 'explain'],
      bases: ['BaseHandler', 'ABC'],
    });
  });

  it('has the steps of a handler of TorchServe that it extends', () => {
    const source = 'class Mine(ts.torch_handler.ImageClassifier, metaclass=ABCMeta):\n    topk = 3\n';
    expect(readPythonHandler(source)).toEqual({
      hooks: ['preprocess', 'postprocess'],
      bases: ['ImageClassifier'],
    });
  });

  it('may be a function', () => {
    expect(readPythonHandler('def handle(data, context):\n    return data\n')).toEqual({
      hooks: ['handle'],
      bases: [],
    });
  });

  it('has no hooks that only a comment or a longer name mentions', () => {
    const source = '# def handle(data): ...\ndef handle_all(data): ...\nhandler = redef handle(\n';
    expect(readPythonHandler(source).hooks).toEqual([]);
  });

  it('is read to its end, however it is written', () => {
    const hostile = `${'class A('.repeat(50_000)}\n${' '.repeat(500_000)}def${' '.repeat(200_000)}\n`;
    expect(readPythonHandler(hostile)).toEqual({ hooks: [], bases: [] });
  });

  it.each([
    ['my_handler.py', 'my_handler'],
    ['dir/my_handler.py:entry', 'my_handler'],
    ['image_classifier', 'image_classifier'],
    ['', ''],
  ])('%j is the module %j', (handler, module) => {
    expect(handlerModule(handler)).toBe(module);
  });
});
