import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const loader = new URL('../support/ts-register.mjs', import.meta.url).href;

/** `marline` as a process of its own, from the sources. */
export class MarlineProcess {
  output = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | NodeJS.Signals>;

  /** @param args the command line, such as `['serve', '--model-store', 'models']` */
  constructor(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    const flags = ['--conditions=marline-source', `--import=${loader}`, `${root}src/cli.ts`];
    this.#child = spawn(process.execPath, [...flags, ...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.#child.stderr!.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.#exited = once(this.#child, 'close').then(
      ([code, signal]) => (code ?? signal) as number | NodeJS.Signals,
    );
  }

  /** Resolves when the server says that it has started; rejects with its output when it ends before. */
  async started(): Promise<this> {
    const ended = this.#exited.then((code) => {
      throw new Error(`The server ended with ${code}:\n${this.output}`);
    });
    await Promise.race([ended, this.printed('Model server started.')]);
    return this;
  }

  /** Resolves when the output contains `text`. */
  async printed(text: string): Promise<void> {
    while (!this.output.includes(text)) await once(this.#child.stdout!, 'data');
  }

  /** The address that a listener was given: `Inference`, `Management` or `Metrics`. */
  address(listener: 'Inference' | 'Management' | 'Metrics'): string {
    const match = new RegExp(`${listener} API bind to: (http://\\S+)`).exec(this.output);
    if (match === null) throw new Error(`No ${listener} listener in:\n${this.output}`);
    return match[1]!;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code, or the signal that ended it. */
  exited(): Promise<number | NodeJS.Signals> {
    return this.#exited;
  }

  /** Ends it, gently unless it has ended. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.signal('SIGTERM');
    return this.#exited;
  }
}
