import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MarlineError, decodeError, systemClock, type EncodedError, type TensorMetadata } from '#libs/common';
import type { OnnxFile } from './onnx-file.js';

/** What a model that loads tells. */
export interface ProbeReport {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Why the form for shared weights must not be used; `undefined` when it was written and gives the same answers. */
  readonly unshared?: string;
}

/** What the parent asks. */
export type ProbeRequest =
  | { readonly step: 'inspect'; readonly path: string }
  | {
      readonly step: 'load';
      readonly path: string;
      readonly intraOpThreads: number;
      readonly shareInto?: string;
    };

/** What the child answers. */
export type ProbeAnswer =
  | { readonly kind: 'file'; readonly file: OnnxFile }
  | { readonly kind: 'report'; readonly report: ProbeReport }
  | { readonly kind: 'error'; readonly error: EncodedError };

const DEFAULT_TIMEOUT_MS = 120_000;
const MAX_ERROR_OUTPUT = 4096;

/**
 * A child process in which a model is tried before the gateway trusts it (docs/decisions/0001): a malformed model can crash ONNX
 * Runtime's parser or never return from a run, and then it takes this process with it and not the gateway.
 * Ask one thing at a time.
 */
export class ModelProbe {
  readonly #child: ChildProcess;
  readonly #timeoutMs: number;
  readonly #ended: Promise<string>;
  readonly #killAtExit = () => this.kill();
  #errorOutput = '';

  constructor(timeoutMs = DEFAULT_TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs;
    this.#child = fork(fileURLToPath(new URL('./model-probe.worker.js', import.meta.url)), {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // A debugger's port can be taken only once.
      execArgv: process.execArgv.filter((argument) => !argument.startsWith('--inspect')),
    });
    const output = this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errorOutput = (this.#errorOutput + text).slice(-MAX_ERROR_OUTPUT);
    });
    // A model that never returns from its run would outlive a gateway that is told to exit.
    process.on('exit', this.#killAtExit);
    // Not 'close': it does not come after a disconnect from this side.
    this.#ended = new Promise<string>((resolve) => {
      this.#child.once('error', (error) => resolve(error.message));
      this.#child.once('exit', (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
      );
    }).then(async (outcome) => {
      process.off('exit', this.#killAtExit);
      if (output?.readable === true) await once(output, 'end');
      return outcome;
    });
  }

  /** Checks the file's bytes; quick, whatever its size. @throws MarlineError `MODEL_INVALID` */
  async inspect(path: string): Promise<OnnxFile> {
    const answer = await this.#ask({ step: 'inspect', path });
    if (answer.kind !== 'file') throw this.#unusable('The process that tries it gave a wrong answer.');
    return answer.file;
  }

  /**
   * Loads the model and runs it once.
   * @param shareInto folder that gets the form for shared weights; left as it is by default
   * @throws MarlineError `MODEL_INVALID`, `OUT_OF_RESOURCES`
   */
  async load(path: string, intraOpThreads: number, shareInto?: string): Promise<ProbeReport> {
    const answer = await this.#ask({ step: 'load', path, intraOpThreads, shareInto });
    if (answer.kind !== 'report') throw this.#unusable('The process that tries it gave a wrong answer.');
    return answer.report;
  }

  /**
   * Ends the process. A crash on the way out counts: the gateway would meet it too when it releases the model.
   * @throws MarlineError `MODEL_INVALID`
   */
  async end(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const outcome = await this.#within(this.#ended);
    if (outcome !== 'exit code 0') throw this.#crashed(outcome);
  }

  /** Ends the process now, whatever it does. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async #ask(request: ProbeRequest): Promise<ProbeAnswer> {
    let listener = (_message: unknown) => {};
    const answered = new Promise<unknown>((resolve) => {
      listener = resolve;
      this.#child.once('message', listener);
    });
    // The channel may be closed already; then the child's end says more than the failed write.
    this.#child.send(request, () => {});
    const failed = this.#ended.then((outcome) => {
      throw this.#crashed(outcome);
    });
    try {
      const answer = await this.#within(Promise.race([answered, failed]));
      if (!isAnswer(answer)) throw this.#unusable('The process that tries it gave a wrong answer.');
      if (answer.kind === 'error') throw decodeError(answer.error);
      return answer;
    } catch (error) {
      this.kill();
      throw error;
    } finally {
      this.#child.off('message', listener);
    }
  }

  #within<T>(promise: Promise<T>): Promise<T> {
    let stopTimer = () => {};
    const overdue = new Promise<never>((_, reject) => {
      stopTimer = systemClock.after(this.#timeoutMs, () => {
        this.kill();
        reject(this.#unusable(`It did not load and run once within ${this.#timeoutMs} ms.`));
      });
    });
    return Promise.race([promise, overdue]).finally(stopTimer);
  }

  #crashed(outcome: string): MarlineError {
    return this.#unusable(`Loading it ended the process that tries it (${outcome}).`);
  }

  #unusable(problem: string): MarlineError {
    const cause = this.#errorOutput === '' ? undefined : new Error(this.#errorOutput);
    return new MarlineError(
      'MODEL_INVALID',
      { reason: `The model cannot be used. ${problem} Check the file with another ONNX tool.` },
      { cause },
    );
  }
}

/** The child has read a hostile file: what it says is checked like anything from outside. */
function isAnswer(message: unknown): message is ProbeAnswer {
  if (typeof message !== 'object' || message === null) return false;
  const { kind, file, report, error } = message as {
    kind?: unknown;
    file?: Partial<OnnxFile>;
    report?: Partial<ProbeReport>;
    error?: Partial<EncodedError>;
  };
  switch (kind) {
    case 'file':
      return typeof file?.bytes === 'number' && Array.isArray(file.externalFiles);
    case 'report':
      return Array.isArray(report?.inputs) && Array.isArray(report?.outputs);
    case 'error':
      return (
        typeof error?.message === 'string' &&
        ['MODEL_INVALID', 'OUT_OF_RESOURCES', 'INTERNAL'].includes(String(error.code))
      );
    default:
      return false;
  }
}
