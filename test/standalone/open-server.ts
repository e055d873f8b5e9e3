import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoggerService } from '@nestjs/common';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer, type RunningServer } from '../../src/server.js';
import { packFixture, type FixtureName } from '../support/serve-app.js';

/** A folder for servers inside this process: their archives, and where they leave their own files. */
export class ServerFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'marline-server-'));
  readonly #running = new Set<RunningServer>();
  readonly #files: string[] = [];

  constructor() {
    mkdirSync(join(this.path, 'store'));
  }

  /** Packs a model, which servers that are started from now on load. */
  async pack(model: FixtureName): Promise<void> {
    this.#files.push(await packFixture(join(this.path, 'store'), model));
  }

  /**
   * Starts a server on free ports, where nobody is asked for tokens, unless these settings say otherwise.
   * @param settings by key of `config.properties`
   */
  async start(
    settings: Readonly<Record<string, string>> = {},
    logger: LoggerService | false = false,
  ): Promise<RunningServer> {
    const configuration = loadConfiguration({
      directory: this.path,
      environment: {},
      commandLine: {
        inference_address: 'http://127.0.0.1:0',
        management_address: 'http://127.0.0.1:0',
        metrics_address: 'http://127.0.0.1:0',
        grpc_inference_port: '0',
        grpc_management_port: '0',
        disable_token_authorization: 'true',
        model_store: 'store',
        cache_dir: join(this.path, 'cache'),
        load_models: this.#files.join(','),
        default_workers_per_model: '1',
        ...settings,
      },
    });
    const server = await startServer(configuration, [], logger);
    this.#running.add(server);
    return server;
  }

  /** Closes the servers. */
  async closeAll(): Promise<void> {
    for (const server of this.#running) await server.close();
    this.#running.clear();
  }

  /** Closes the servers and removes the folder. */
  async remove(): Promise<void> {
    await this.closeAll();
    rmSync(this.path, { recursive: true });
  }
}
