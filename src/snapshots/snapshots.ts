import { Logger } from '@nestjs/common';
import { messageOf } from '#libs/common';
import type { ModelRegistry } from '#libs/serve';
import { takeSnapshot } from './model-snapshot.js';
import { writeSnapshot, type SnapshotOccasion } from './snapshot-folder.js';

/** Writes what is served, together with the configuration, at the start, after each change, and at the stop. */
export class Snapshots {
  readonly #logger = new Logger('Snapshots');

  /**
   * @param folder where the files go
   * @param properties the configuration without models
   */
  constructor(
    private readonly registry: ModelRegistry,
    private readonly folder: string,
    private readonly properties: ReadonlyMap<string, string>,
  ) {}

  /** From now on every change is written. */
  start(): void {
    this.write('startup');
    this.registry.onChange(() => this.write('snapshot'));
  }

  /** A failure is logged: what is served goes on. */
  write(occasion: SnapshotOccasion): void {
    try {
      writeSnapshot(this.folder, occasion, (name, created) => {
        // Without indentation: the blanks of a thousand models took 24 ms to escape, in which nothing else was served.
        const models = JSON.stringify(takeSnapshot(this.registry, name, created));
        return new Map([...this.properties, ['model_snapshot', models]]);
      });
    } catch (error) {
      this.#logger.error(`A snapshot could not be written into ${this.folder}: ${messageOf(error)}`);
    }
  }
}
