import { MAX_ELEMENTS, MarlineError } from '#libs/common';

/** What the model is exported and compared with: a shape for which values are made up, or a NumPy file with real ones. */
export type ModelInput = MadeUpInput | { readonly sample: string };

/** An input for which values are made up. */
interface MadeUpInput {
  /** The batch axis first. */
  readonly shape: readonly number[];
  readonly dtype: string;
  /** By axis, the names of dimensions beside the first that may have any size; equal names, equal sizes. */
  readonly free?: Readonly<Record<number, string>>;
}

/** Element types that PyTorch and the engine have in common. */
const DTYPES = ['float32', 'float64', 'float16', 'int8', 'uint8', 'int16', 'int32', 'int64', 'bool'] as const;

/** What TorchServe's `image_classifier` gives its model. */
export const IMAGE_INPUT: ModelInput = { shape: [1, 3, 224, 224], dtype: 'float32' };

const DIMENSION = /^(?:([A-Za-z]\w{0,63})=)?(\d{1,9})$/;

/**
 * Reads `1x3x224x224:float32`, the batch axis first, or `1xsequence=16:int64` with a second free dimension. Without a type it is
 * float32.
 * @throws MarlineError `INVALID_INPUT`
 */
export function parseModelInput(text: string): ModelInput {
  const [, dimensions = '', dtype = 'float32'] = /^([^:]{1,1000}?)(?::(\w+))?$/.exec(text) ?? [];
  const parts = splitDimensions(dimensions);
  if (parts === undefined)
    throw invalid('Write it as dimensions and type, the batch axis first, such as 1x3x224x224:float32.');
  if (!DTYPES.some((known) => known === dtype))
    throw invalid(`The type ${dtype} is not one of ${DTYPES.join(', ')}.`);
  const named = parts.flatMap(({ name }, axis) => (name === undefined ? [] : [{ name, axis }]));
  if (named.some(({ name, axis }) => axis === 0 || name === 'batch'))
    throw invalid('The first dimension is the batch axis, which needs no name.');
  const shape = parts.map(({ size }) => size);
  const elements = shape.reduce((product, size) => product * size, 1);
  if (elements < 1 || elements > MAX_ELEMENTS)
    throw invalid(`It has ${elements} elements; 1 to ${MAX_ELEMENTS} are possible.`);
  const free = Object.fromEntries(named.map(({ name, axis }) => [axis, name]));
  return named.length === 0 ? { shape, dtype } : { shape, dtype, free };
}

// A name may hold an x itself: what follows one is a dimension only if it looks like one.
function splitDimensions(
  text: string,
): readonly { readonly name: string | undefined; readonly size: number }[] | undefined {
  const parts = text.split(/x(?=\d|[A-Za-z]\w*=)/).map((part) => DIMENSION.exec(part));
  if (parts.length > 16 || parts.includes(null)) return undefined;
  return parts.map((part) => ({ name: part?.[1], size: Number(part?.[2]) }));
}

/** @throws MarlineError `INVALID_INPUT` when a free dimension has two sizes */
export function checkFreeDimensions(inputs: readonly ModelInput[]): void {
  const sizes = new Map<string, number>();
  for (const input of inputs) {
    if ('sample' in input) continue;
    for (const [axis, name] of Object.entries(input.free ?? {})) {
      const size = input.shape[Number(axis)] ?? 0;
      if ((sizes.get(name) ?? size) !== size)
        throw invalid(
          `The dimension ${name} has the sizes ${sizes.get(name)} and ${size}; equal names are equal sizes.`,
        );
      sizes.set(name, size);
    }
  }
}

/** True when the input is what `image_classifier` gives its model, whatever the batch size. */
export function isImageInput(inputs: readonly ModelInput[]): boolean {
  const [input] = inputs;
  if (inputs.length !== 1 || input === undefined) return false;
  // What a file holds is seen only in Python; the handler says at registration if it does not fit.
  if ('sample' in input) return true;
  return input.dtype === 'float32' && input.shape.length === 4 && input.shape.slice(1).join() === '3,224,224';
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
