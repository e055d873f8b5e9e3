import { MAX_ELEMENTS, arrayTypeOf, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';

/** What a free dimension is tried with: 1 suits a batch; 64 suits rows and columns that a network halves a few times. */
const GUESSES = [
  { batch: 1, other: 1 },
  { batch: 1, other: 64 },
] as const;

/** A sample of this many elements is not worth its memory. */
const MAX_SAMPLE_ELEMENTS = MAX_ELEMENTS / 16;

/**
 * Inputs that a model may accept, best guess first: fixed dimensions as they are, free ones guessed. Values are reproducible:
 * fractions in [-0.5, 0.5), 0 and 1 for whole numbers (valid as an index, a mask or a flag), short strings.
 * Empty when every guess would be too large.
 */
export function sampleInputs(inputs: readonly TensorMetadata[]): Tensors[] {
  const isFree = inputs.some(({ shape }) => shape.some((dimension) => typeof dimension === 'string'));
  return GUESSES.slice(0, isFree ? GUESSES.length : 1).flatMap((guess) => {
    const shapes = inputs.map(({ shape }) =>
      shape.map((dimension, axis) =>
        typeof dimension === 'number' ? dimension : axis === 0 ? guess.batch : guess.other,
      ),
    );
    const counts = shapes.map((shape) => shape.reduce((product, dimension) => product * dimension, 1));
    if (counts.reduce((sum, count) => sum + count, 0) > MAX_SAMPLE_ELEMENTS) return [];
    return [
      Object.fromEntries(
        inputs.map(({ name, dtype }, index) => [
          name,
          sample(dtype, shapes[index] ?? [], counts[index] ?? 0),
        ]),
      ),
    ];
  });
}

function sample(dtype: Tensor['dtype'], shape: number[], count: number): Tensor {
  switch (dtype) {
    case 'string':
      return { dtype, shape, data: Array.from({ length: count }, (_, index) => `word${index % 7}`) };
    case 'float32':
    case 'float64':
      return {
        dtype,
        shape,
        data: new (arrayTypeOf(dtype))(count).map((_, index) => ((index * 37) % 101) / 101 - 0.5),
      };
    case 'float16':
      // 0x3000 is 0.125, 0xb000 its negative.
      return {
        dtype,
        shape,
        data: new Uint16Array(count).map((_, index) => (index % 2 === 0 ? 0x3000 : 0xb000)),
      };
    case 'int64':
    case 'uint64':
      return { dtype, shape, data: new (arrayTypeOf(dtype))(count).map((_, index) => BigInt(index % 2)) };
    default:
      return { dtype, shape, data: new (arrayTypeOf(dtype))(count).map((_, index) => index % 2) };
  }
}
