import { readFile } from 'node:fs/promises';
import { MarlineError, isDType, messageOf } from '#libs/common';
import { payloadOf, type Payload } from '../prediction-client.js';

/** Largest file that is sent: all bodies are kept in memory. */
const MAX_BODY_BYTES = 256 * 2 ** 20;

/**
 * The bodies of files, each with the content type that its bytes suggest; a NumPy array becomes a tensor in JSON.
 * @param input the model's input that NumPy arrays are for
 * @throws MarlineError `INVALID_INPUT` for a file that cannot be read or is too large
 */
export async function bodiesOf(files: readonly string[], input: string): Promise<Payload[]> {
  const bodies: Payload[] = [];
  for (const file of files) {
    const bytes = await readFile(file).catch((error: unknown) => {
      throw invalid(`${file} cannot be read: ${messageOf(error)}. Nothing was sent.`);
    });
    if (bytes.length > MAX_BODY_BYTES)
      throw invalid(`${file} has ${bytes.length} bytes; a body may have ${MAX_BODY_BYTES}.`);
    bodies.push(payloadOf(bytes, input));
  }
  return bodies;
}

/**
 * A made-up request of the open inference protocol, as JSON.
 * @param specs `name=dtype[1,3,224,224]` for each input of the model
 * @throws MarlineError `INVALID_INPUT` for a spec of another form
 */
export async function tensorBody(specs: readonly string[]): Promise<Payload> {
  const inputs = specs.map((spec) => {
    const [, name, dtype = '', sizes = ''] = /^(.+)=(\w+)\[(\d{1,9}(?:,\d{1,9})*)\]$/.exec(spec) ?? [];
    if (name === undefined || !isDType(dtype))
      throw invalid(`--tensor ${spec}: write it as name=dtype[sizes], such as input=float32[1,128].`);
    return { name, dtype, shape: sizes.split(',').map(Number) };
  });
  // Both bring Nest along, which takes half a second that a body from a file does without.
  const [{ sampleInputs }, { encodeTensors }] = await Promise.all([
    import('#libs/inference'),
    import('#libs/handler'),
  ]);
  const [tensors] = sampleInputs(inputs);
  if (tensors === undefined) throw invalid(`--tensor ${specs.join(' ')}: the tensors are too large.`);
  return { contentType: 'application/json', body: JSON.stringify({ inputs: encodeTensors(tensors) }) };
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
