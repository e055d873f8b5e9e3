import type { Header, ItemOutput, ItemResult, Tensor } from '#libs/common';
import { DATATYPES, invalid, show } from './datatypes.js';
import { jsonOutput, quoteAscii } from './output-encoding.js';
import type { ProtocolRequest, WantedOutput } from './protocol-request.js';
import { outputPart, type OutputPart, type RunPart } from './run-part.js';
import { shortFloatsText } from './short-floats.js';
import { byteLengthOf, writeBytes } from './tensor-bytes.js';
import { elementsText } from './tensor-text.js';

/** Says how long the JSON in front of binary tensors is. */
const JSON_LENGTH_HEADER = 'Inference-Header-Content-Length';
const JSON_HEADERS: readonly Header[] = [['content-type', 'application/json']];
const BYTES_TYPE: Header = ['content-type', 'application/octet-stream'];
const NO_HEADERS: readonly Header[] = [];

const quote = (text: string): string => JSON.stringify(text);

/** Writes the answers of one model to requests that are tensors: as the protocol has them, as TorchServe has JSON, and as bare bytes. */
export class TensorResponder {
  readonly #compactHead: string;
  readonly #indentedHead: string;

  constructor({ modelName, modelVersion }: { readonly modelName: string; readonly modelVersion: string }) {
    this.#compactHead = `{"model_name":${quote(modelName)},"model_version":${quote(modelVersion)},`;
    this.#indentedHead = `{\n  "model_name": ${quoteAscii(modelName)},\n  "model_version": ${quoteAscii(modelVersion)},\n  `;
  }

  /**
   * The protocol's answer: compact JSON with, where the request asks for them, binary tensors behind it.
   * @throws MarlineError `INVALID_INPUT` for an output that the model did not give
   */
  protocol(request: ProtocolRequest, run: RunPart): ItemResult {
    const id = request.id === undefined ? '' : `"id":${quote(request.id)},`;
    let text = `${this.#compactHead}${id}"outputs":[`;
    const tails: OutputPart[] = [];
    let tailBytes = 0;
    const wanted = wantedOf(request, run);
    for (let index = 0; index < wanted.length; index++) {
      const { name, binary } = wanted[index] as WantedOutput;
      const part = partOf(run, name);
      const { tensor, shape, from, to } = part;
      if (index > 0) text += ',';
      text += `{"name":${quote(name)},"shape":[${shape.join()}],"datatype":"${DATATYPES[tensor.dtype]}",`;
      if (binary) {
        const length = byteLengthOf(tensor, from, to);
        text += `"parameters":{"binary_data_size":${length}}}`;
        tailBytes += length;
        tails.push(part);
      } else text += `"data":[${compactText(tensor, from, to)}]}`;
    }
    text += ']}';
    if (tails.length === 0) return resultOf(jsonOutput(text), JSON_HEADERS);
    return withTails(text, tails, tailBytes);
  }

  /**
   * TorchServe's form of JSON: indented by two, all beyond ASCII escaped.
   * @throws MarlineError `INVALID_INPUT` for an output that the model did not give
   */
  indented(request: ProtocolRequest, run: RunPart): ItemResult {
    const id = request.id === undefined ? '' : `"id": ${quoteAscii(request.id)},\n  `;
    const outputs = wantedOf(request, run).map(({ name }) => {
      const { tensor, shape, from, to } = partOf(run, name);
      return `{\n      "name": ${quoteAscii(name)},\n      "shape": ${list(shape.join(LINE))},\n      "datatype": "${DATATYPES[tensor.dtype]}",\n      "data": ${list(elementsText(tensor, from, to, LINE, quoteAscii))}\n    }`;
    });
    const listed = outputs.length === 0 ? '[]' : `[\n    ${outputs.join(',\n    ')}\n  ]`;
    return resultOf(jsonOutput(`${this.#indentedHead}${id}"outputs": ${listed}\n}`), NO_HEADERS);
  }

  /** The bytes of the one output; `undefined` when several are asked for, which bare bytes cannot tell apart. */
  bytes(request: ProtocolRequest | undefined, run: RunPart): ItemResult | undefined {
    const wanted = request?.outputs;
    const count = wanted === undefined ? Object.keys(run.outputs).length : wanted.length;
    if (count !== 1) return undefined;
    const name = wanted?.[0]?.name ?? Object.keys(run.outputs)[0] ?? '';
    const { tensor, shape, from, to } = partOf(run, name);
    const bytes = new Uint8Array(byteLengthOf(tensor, from, to));
    writeBytes(tensor, from, to, bytes, 0);
    const headers: readonly Header[] = [
      BYTES_TYPE,
      ['x-tensor-dtype', tensor.dtype],
      ['x-tensor-shape', shape.join()],
    ];
    return resultOf({ kind: 'bytes', bytes, encoding: 'binary' }, headers);
  }
}

const LINE = ',\n        ';

function list(items: string): string {
  return items === '' ? '[]' : `[\n        ${items}\n      ]`;
}

function wantedOf({ outputs, binary }: ProtocolRequest, run: RunPart): readonly WantedOutput[] {
  return outputs ?? Object.keys(run.outputs).map((name) => ({ name, binary }));
}

function partOf(run: RunPart, name: string): OutputPart {
  const part = outputPart(run, name);
  if (part === undefined) throw invalid(`The model has no output ${show(name)}.`);
  return part;
}

function compactText(tensor: Tensor, from: number, to: number): string {
  if (tensor.dtype === 'float32') return shortFloatsText(tensor.data as Float32Array, from, to);
  return elementsText(tensor, from, to, ',', quote);
}

function withTails(text: string, tails: readonly OutputPart[], tailBytes: number): ItemResult {
  const jsonBytes = Buffer.byteLength(text);
  const bytes = new Uint8Array(jsonBytes + tailBytes);
  Buffer.from(bytes.buffer).write(text);
  let at = jsonBytes;
  for (const { tensor, from, to } of tails) {
    writeBytes(tensor, from, to, bytes, at);
    at += byteLengthOf(tensor, from, to);
  }
  return resultOf({ kind: 'bytes', bytes, encoding: 'binary' }, [
    BYTES_TYPE,
    [JSON_LENGTH_HEADER, String(jsonBytes)],
  ]);
}

function resultOf(output: ItemOutput, headers: readonly Header[]): ItemResult {
  return { status: 200, reason: '', headers, output };
}
