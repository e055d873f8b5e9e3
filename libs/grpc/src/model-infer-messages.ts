/** The messages of `ModelInfer` as proto-loader decodes them; 64-bit integers are decimal texts. */
export interface ModelInferRequest {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly inputs: readonly InferInput[];
  readonly outputs: readonly { readonly name: string }[];
  readonly raw_input_contents: readonly Buffer[];
}

export interface InferInput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly string[];
  readonly contents: TensorContents | null;
}

/** The elements of a tensor, in the list for its data type. */
export interface TensorContents {
  readonly bool_contents?: readonly boolean[];
  readonly int_contents?: readonly number[];
  readonly int64_contents?: readonly string[];
  readonly uint_contents?: readonly number[];
  readonly uint64_contents?: readonly string[];
  readonly fp32_contents?: readonly number[];
  readonly fp64_contents?: readonly number[];
  readonly bytes_contents?: readonly Buffer[];
}

export interface ModelInferResponse {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly outputs: readonly InferOutput[];
  /** The elements of each output, where the request has those of its inputs so. */
  readonly raw_output_contents?: readonly Uint8Array[];
}

export interface InferOutput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly (number | string)[];
  readonly contents?: TensorContents;
}
