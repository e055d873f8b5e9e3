import { describe, expect, it } from 'vitest';
import { checkFreeDimensions, isImageInput, parseModelInput } from './model-input.js';

describe('an input', () => {
  it.each([
    ['1x3x224x224:float32', { shape: [1, 3, 224, 224], dtype: 'float32' }],
    ['4', { shape: [4], dtype: 'float32' }],
    ['1x16:int64', { shape: [1, 16], dtype: 'int64' }],
    ['1xsequence=16:int64', { shape: [1, 16], dtype: 'int64', free: { 1: 'sequence' } }],
    [
      '1x3xheight=32xmax_x=48',
      { shape: [1, 3, 32, 48], dtype: 'float32', free: { 2: 'height', 3: 'max_x' } },
    ],
  ])('%s is read', (text, input) => {
    expect(parseModelInput(text)).toEqual(input);
  });

  it.each([
    ['', 'Write it as dimensions and type'],
    ['1x', 'Write it as dimensions and type'],
    ['1x-3', 'Write it as dimensions and type'],
    ['1X3', 'Write it as dimensions and type'],
    ['1x3:float32:float32', 'Write it as dimensions and type'],
    ['1'.concat('x1'.repeat(16)), 'Write it as dimensions and type'],
    ['1xn', 'Write it as dimensions and type'],
    ['1x3:complex64', 'The type complex64 is not one of float32, float64'],
    ['1x0', 'It has 0 elements'],
    ['999999999x999999999', 'It has 999999998000000000 elements'],
    ['n=1x3', 'The first dimension is the batch axis'],
    ['1xbatch=3', 'The first dimension is the batch axis'],
  ])('%j is refused', (text, message) => {
    expect(() => parseModelInput(text)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringContaining(message) as string }),
    );
  });

  it('has one size for each name of a free dimension', () => {
    const inputs = (...texts: string[]) => texts.map(parseModelInput);
    expect(() => checkFreeDimensions(inputs('1xn=4', '1xn=4xm=5'))).not.toThrow();
    expect(() => checkFreeDimensions(inputs('1xn=4', '1xn=5'))).toThrow(
      'The dimension n has the sizes 4 and 5',
    );
  });

  it.each([
    ['1x3x224x224', true],
    ['8x3x224x224:float32', true],
    ['1x3x224x224:float16', false],
    ['1x1x28x28', false],
    ['3x224x224', false],
  ])('%s is what image_classifier gives: %s', (text, is) => {
    expect(isImageInput([parseModelInput(text)])).toBe(is);
  });

  it('is not what image_classifier gives when there are two', () => {
    expect(isImageInput([parseModelInput('1x3x224x224'), parseModelInput('1x3x224x224')])).toBe(false);
  });
});
