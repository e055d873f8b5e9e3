import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TensorMetadata } from '#libs/common';
import { contentCache } from './content-caches.js';
import { ModelProbe, type ProbeReport } from './model-probe.js';
import { SHARED_FILES, SHARED_FORM } from './session-options.js';

/** Where and how the form for shared weights is made. */
export interface PrepareOptions {
  /** Folder of the cache; may be shared by several processes. */
  readonly cacheDir: string;
  /** Models with fewer bytes of file and external data than this are used as they are. */
  readonly thresholdBytes: number;
  readonly intraOpThreads: number;
  /** Milliseconds for each step of trying the model. Default 120,000. */
  readonly timeoutMs?: number;
}

/** A model that was tried and may be opened by workers. */
export interface PreparedModel {
  /** The file for sessions on the CPU. */
  readonly path: string;
  /** True when `path` is the optimised form, whose weights all sessions map from one file. It is of use on the CPU only. */
  readonly shared: boolean;
  /** The file as it came: for sessions on other devices. */
  readonly originalPath: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Gives the cached files back; call it when no session uses them any more. */
  release(): Promise<void>;
}

const REPORT_FILE = 'report.json';

/**
 * Tries a model in a child process and, when it is large, makes the form whose weights all workers share: four workers of a
 * 102 MB model then need about 300 MB instead of 1,200. Kept in a cache by the digest of the model and by all else that the
 * form depends on, so that a model that was tried before is not loaded again. The original is used when the
 * optimised form has other inputs, outputs or answers.
 * @throws MarlineError `MODEL_INVALID`, `OUT_OF_RESOURCES`
 */
export async function prepareModel(path: string, options: PrepareOptions): Promise<PreparedModel> {
  const probe = new ModelProbe(options.timeoutMs);
  try {
    // What is wrong with the file, if only that it is not there, the inspection says.
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    // The digest of a large file takes as long as the start of the process that tries it.
    const [file, digest] = await Promise.all([
      probe.inspect(path),
      size < options.thresholdBytes ? undefined : sha256(path),
    ]);
    if (file.bytes < options.thresholdBytes) {
      const report = await probe.load(path, options.intraOpThreads);
      await probe.end();
      return asItIs(path, report);
    }
    const key = await cacheKey(digest ?? (await sha256(path)), dirname(path), file.externalFiles);
    const cache = await contentCache(join(options.cacheDir, 'weights'));
    const lease = await cache.acquire(key, async (folder) => {
      const report = await probe.load(path, options.intraOpThreads, folder);
      await probe.end();
      await writeFile(join(folder, REPORT_FILE), JSON.stringify(report));
    });
    const report = JSON.parse(await readFile(join(lease.dir, REPORT_FILE), 'utf8')) as ProbeReport;
    if (report.unshared !== undefined) {
      await lease.release();
      return asItIs(path, report);
    }
    const { inputs, outputs } = report;
    return {
      path: join(lease.dir, SHARED_FILES.model),
      shared: true,
      originalPath: path,
      inputs,
      outputs,
      release: () => lease.release(),
    };
  } finally {
    probe.kill();
  }
}

function asItIs(path: string, { inputs, outputs }: ProbeReport): PreparedModel {
  return { path, shared: false, originalPath: path, inputs, outputs, release: () => Promise.resolve() };
}

/** Hex sha256 of everything that the optimised form depends on: the digest of the model's file, and what lies beside it, among others. */
async function cacheKey(digest: string, folder: string, externalFiles: readonly string[]): Promise<string> {
  const parts = [
    onnxRuntimeVersion(),
    process.platform,
    process.arch,
    cpuFeatures(),
    JSON.stringify(SHARED_FORM),
    digest,
  ];
  for (const name of externalFiles) parts.push(name, await sha256(join(folder, name)));
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

function onnxRuntimeVersion(): string {
  return (createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }).version;
}

/** What the CPU can do decides the layout of the weights; the cache may lie on a volume that several machines mount. */
function cpuFeatures(): string {
  const info = process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  return /^(?:flags|Features)\s*:.*$/m.exec(info)?.[0] ?? cpus()[0]?.model ?? '';
}
