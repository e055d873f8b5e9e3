/** Nothing native runs: either side may take the flag. */
const FREE = 0;
/** The thread is inside native code. */
const NATIVE = 1;
/** The pool owns the thread's end; the thread never enters native code again. */
const ENDED = 2;
/** The thread is inside native code for the last time: it hands the flag over when it comes out. */
const LEAVING = 3;

/**
 * The atomic flag between a thread and its pool that keeps `terminate()` and native code apart: a thread that is
 * terminated inside ONNX Runtime takes the whole process down (docs/decisions/0001). The thread holds the flag while it is in native
 * code, the pool terminates only after it has won the flag.
 *
 * A new gate is held by the thread: while an entry's modules load, native add-ons initialise. `serveWorker` opens it.
 */
export class NativeGate {
  readonly #flag: Int32Array;
  /** Native calls of this thread under way; the first to enter takes the flag, the last to leave gives it back. */
  #inside = 1;

  /** @param memory of the gate at the other side; left out, a new gate is made */
  constructor(readonly memory: SharedArrayBuffer = heldMemory()) {
    this.#flag = new Int32Array(memory);
  }

  /**
   * Thread side: runs a native call with the flag held, until its promise settles if it returns one. Calls may overlap or nest.
   * Never returns once the pool has won: the thread is being terminated.
   */
  hold<T>(call: () => T): T {
    this.#enter();
    let result: T | undefined;
    try {
      result = call();
      return result instanceof Promise ? (result.finally(() => this.leave()) as T) : result;
    } finally {
      if (!(result instanceof Promise)) this.leave();
    }
  }

  #enter(): void {
    this.#inside += 1;
    if (this.#inside === 1 && Atomics.compareExchange(this.#flag, 0, FREE, NATIVE) !== FREE) this.#park();
  }

  /** Thread side: the end of one native call, and of the loading of the entry's modules. */
  leave(): void {
    this.#inside -= 1;
    if (this.#inside === 0 && Atomics.compareExchange(this.#flag, 0, NATIVE, FREE) !== NATIVE) {
      Atomics.store(this.#flag, 0, ENDED);
      this.#park();
    }
  }

  /**
   * Pool side: true when the pool owns the flag, so that `terminate()` is safe. Otherwise the thread is in native code:
   * it will stop at the end of that call, and the pool asks again later.
   */
  tryEnd(): boolean {
    for (;;) {
      switch (Atomics.load(this.#flag, 0)) {
        case FREE:
          if (Atomics.compareExchange(this.#flag, 0, FREE, ENDED) === FREE) return true;
          break;
        case NATIVE:
          // Leaving a mark rather than polling for a free moment: a thread in a tight loop of native calls has none.
          if (Atomics.compareExchange(this.#flag, 0, NATIVE, LEAVING) === NATIVE) return false;
          break;
        case LEAVING:
          return false;
        default:
          return true;
      }
    }
  }

  #park(): never {
    for (;;) Atomics.wait(this.#flag, 0, ENDED);
  }
}

function heldMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  new Int32Array(memory)[0] = NATIVE;
  return memory;
}
