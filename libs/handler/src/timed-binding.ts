import type { HookTimings, Tensors } from '#libs/common';
import type { ModelBinding } from './handler-context.js';

/** A model whose runs are timed, to tell them from what the hooks around them take. */
export class TimedBinding implements ModelBinding {
  readonly inputs: ModelBinding['inputs'];
  readonly outputs: ModelBinding['outputs'];
  #startedAt = 0;
  /** When the model was asked first since then (0: not yet), and when it answered last. */
  #askedAt = 0;
  #answeredAt = 0;

  constructor(private readonly binding: ModelBinding) {
    this.inputs = binding.inputs;
    this.outputs = binding.outputs;
  }

  /** The hooks begin. */
  begin(): void {
    this.#startedAt = performance.now();
    this.#askedAt = 0;
  }

  /** The hooks are done: milliseconds since {@link TimedBinding.begin}, and what of it was not the model. */
  end(): { readonly durationMs: number; readonly hooks: HookTimings } {
    const now = performance.now();
    const durationMs = now - this.#startedAt;
    if (this.#askedAt === 0) return { durationMs, hooks: { preMs: durationMs, postMs: 0 } };
    return { durationMs, hooks: { preMs: this.#askedAt - this.#startedAt, postMs: now - this.#answeredAt } };
  }

  run(inputs: Tensors): Tensors | Promise<Tensors> {
    if (this.#askedAt === 0) this.#askedAt = performance.now();
    try {
      const outputs = this.binding.run(inputs);
      return outputs instanceof Promise ? outputs.finally(() => this.#answered()) : outputs;
    } finally {
      this.#answered();
    }
  }

  #answered(): void {
    this.#answeredAt = performance.now();
  }
}
