import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packArchive } from '#libs/archive';
import { jsonBody, rawBytes, type BenchModel } from '../peers/models.js';

/** What an archive of the benchmark is made of. */
interface Packed {
  readonly name: string;
  readonly version?: string;
  /** The ONNX file. */
  readonly file: string;
  /** A handler that the server has, or a file. */
  readonly handler: string;
  /** What model-config.yaml says. */
  readonly config?: object;
}

/** What a client sends. */
export interface Body {
  readonly file: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A folder of a benchmark run: archives, their cache, and the bodies of requests. */
export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'marline-bench-'));
  readonly cacheDir = join(this.folder, 'cache');

  /** Does the work, then removes the folder. */
  static async use<T>(work: (workshop: Workshop) => Promise<T>): Promise<T> {
    const workshop = new Workshop();
    try {
      return await work(workshop);
    } finally {
      rmSync(workshop.folder, { recursive: true, force: true });
    }
  }

  /** Packs `NAME.mar`, or `NAME-VERSION.mar` for another version than 1.0, and gives back the file's name. */
  async pack({ name, version = '1.0', file, handler, config }: Packed): Promise<string> {
    const configFile = join(this.folder, `${name}.yaml`);
    // JSON is YAML.
    if (config !== undefined) writeFileSync(configFile, JSON.stringify(config));
    const stem = version === '1.0' ? name : `${name}-${version}`;
    // The file is called after the model: another version is registered under its name by who registers it.
    await packArchive({
      modelName: stem,
      version,
      handler,
      runtime: 'node',
      serializedFile: file,
      exportPath: this.folder,
      archiveFormat: 'zip-store',
      ...(config === undefined ? {} : { configFile }),
    });
    return `${stem}.mar`;
  }

  /** Packs a model of the comparison, whose tensors come as JSON or as raw bytes. */
  packModel(model: BenchModel, name = model.name, config?: object): Promise<string> {
    return this.pack({
      name,
      file: model.file,
      handler: 'tensor',
      ...(config === undefined ? {} : { config }),
    });
  }

  body(name: string, headers: Body['headers'], bytes: Uint8Array): Body {
    const file = join(this.folder, name);
    writeFileSync(file, bytes);
    return { file, headers };
  }

  /** The one request of a model, as the comparison with peers sends it. */
  bodyOf(model: BenchModel): Body {
    if (model.body === 'json')
      return this.body(`${model.name}.json`, { 'content-type': 'application/json' }, jsonBody(model));
    const type = 'application/octet-stream';
    return this.body(`${model.name}.bin`, { 'content-type': type, accept: type }, rawBytes(model));
  }
}

/** A model of the comparison as tensors for an in-process call. */
export interface ModelInput {
  readonly name: string;
  readonly dtype: 'float32' | 'int64';
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** The inputs of a model's one request as numbers. */
export function inputsOf({ inputs }: BenchModel): ModelInput[] {
  return inputs.map(({ name, datatype, shape, data }) =>
    datatype === 'INT64'
      ? { name, shape, dtype: 'int64', data: BigInt64Array.from(data, BigInt) }
      : { name, shape, dtype: 'float32', data: Float32Array.from(data) },
  );
}
