/**
 * Tells that a caller is gone. An `AbortSignal` is one; doors with many short requests have cheaper ones, because an
 * AbortController costs as much as all else that a small request needs on the main thread.
 */
export interface CancelSignal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
