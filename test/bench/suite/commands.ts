/** An order to a child of the benchmark, and what comes back. */
export interface Order {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}
export interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** What a child can do, by name. */
type Commands = Readonly<Record<string, (argument: never) => unknown>>;

/**
 * Child side: obeys orders until the parent lets go of the channel, also by its own end.
 * @param ready what the parent is told first
 */
export function obey(ready: object, commands: Commands, close: () => Promise<unknown>): void {
  const reply = (message: Reply) => process.send?.(message);
  process.on('message', ({ id, name, argument }: Order) => {
    void (async () => commands[name]?.(argument as never))().then(
      (result) => reply({ id, result }),
      (error: Error) => reply({ id, error: error.message }),
    );
  });
  process.once('disconnect', () => void close());
  reply({ id: 0, result: ready });
}
