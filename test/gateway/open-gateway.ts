import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ModelRegistry, type MarlineModuleOptions } from '#libs/serve';
import {
  modelFolder,
  untilReady,
  type FixtureArchive,
  type FixtureName,
  type ModelFolder,
} from '../support/serve-app.js';
import { GatewayModule } from './app/gateway.module.js';
import { createGateway } from './app/main.js';

/** How a test asks a gateway. */
export interface Ask {
  readonly method?: string;
  /** `operator-key` unless given; `null` sends none. */
  readonly key?: string | null;
  readonly json?: unknown;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly type?: string;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  json(): unknown;
}

/** A running gateway with two versions of the fraud model. */
export interface OpenGateway {
  readonly app: NestFastifyApplication;
  readonly registry: ModelRegistry;
  readonly models: ModelFolder;
  ask(path: string, how?: Ask): Promise<Answer>;
  close(): Promise<void>;
}

const FRAUD: readonly FixtureArchive[] = [
  { fixture: 'fraud' },
  { fixture: 'fraud_v2', name: 'fraud', version: '2.0', file: 'newer' },
];

export async function openGateway(
  more: { readonly models?: readonly FixtureName[]; readonly options?: MarlineModuleOptions } = {},
): Promise<OpenGateway> {
  const models = await modelFolder([...FRAUD, ...(more.models ?? [])]);
  const options: MarlineModuleOptions = {
    modelStore: models.store,
    cacheDir: models.cacheDir,
    loadModels: models.files,
    defaultWorkersPerModel: 1,
    ...more.options,
  };
  const app = await createGateway(GatewayModule.with(() => options));
  await app.listen(0, '127.0.0.1');
  const registry = app.get(ModelRegistry);
  await untilReady(registry);
  const close = async () => {
    await app.close();
    await models.remove();
  };
  return { app, registry, models, ask: asking(await app.getUrl()), close };
}

/** Sends requests to a gateway as its clients do. */
export function asking(url: string): OpenGateway['ask'] {
  return async (path, { method, key = 'operator-key', json, body, type, signal } = {}) => {
    const sent = json === undefined ? body : JSON.stringify(json);
    const contentType = type ?? (json === undefined ? undefined : 'application/json');
    const answer = await fetch(`${url}${path}`, {
      method: method ?? (sent === undefined ? 'GET' : 'POST'),
      body: sent,
      signal,
      headers: {
        ...(key === null ? {} : { 'x-api-key': key }),
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
      },
    });
    const text = await answer.text();
    return {
      status: answer.status,
      headers: Object.fromEntries(answer.headers),
      body: text,
      json: (): unknown => JSON.parse(text),
    };
  };
}
