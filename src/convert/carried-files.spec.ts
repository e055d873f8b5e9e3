import { describe, expect, it } from 'vitest';
import { carriedFiles } from './carried-files.js';

const MODEL = {
  modelFile: 'net.py',
  serializedFile: 'weights.bin',
  handler: 'my_handler.py:entry',
  requirementsFile: 'requirements.txt',
  configFile: 'model-config.yaml',
};

describe('the files of a converted archive', () => {
  it('are those that others than Python read', () => {
    const paths = [
      'MAR-INF/MANIFEST.json',
      'model-config.yaml',
      'net.py',
      'weights.bin',
      'my_handler.py',
      'requirements.txt',
      'index_to_name.json',
      'vocab/words.txt',
      'vocab/source_vocab.pt',
      'package/__init__.py',
      'package/__pycache__/x.txt',
      'torch-2.0.dist-info/METADATA',
      'tokens.PKL',
    ];
    expect(carriedFiles(paths, MODEL, [])).toEqual({
      kept: ['index_to_name.json', 'vocab/words.txt'],
      dropped: [
        'my_handler.py',
        'net.py',
        'package/__init__.py',
        'package/__pycache__/x.txt',
        'requirements.txt',
        'tokens.PKL',
        'torch-2.0.dist-info/METADATA',
        'vocab/source_vocab.pt',
        'weights.bin',
      ],
    });
  });

  it('are not those that the conversion makes anew', () => {
    const { kept, dropped } = carriedFiles(['model.onnx', 'digits.mjs', 'sub/model.onnx'], {}, [
      'model.onnx',
      'digits.mjs',
    ]);
    expect({ kept, dropped }).toEqual({ kept: ['sub/model.onnx'], dropped: ['digits.mjs', 'model.onnx'] });
  });
});
