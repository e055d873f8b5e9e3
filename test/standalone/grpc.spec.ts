import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inferenceCall, managementCall } from '../grpc/open-grpc.js';
import { GrpcClient } from '../support/grpc-client.js';
import { FREE_PORTS, MarlineProcess } from './server-process.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-grpc-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const serve = (env: NodeJS.ProcessEnv = {}) =>
  new MarlineProcess(['serve', '--model-store', '.'], { cwd: folder, env: { ...FREE_PORTS, ...env } });

const portOf = ({ output }: MarlineProcess, api: string) =>
  Number(new RegExp(`${api} gRPC API bind to: 127.0.0.1:(\\d+)`).exec(output)?.[1]);

describe('gRPC of the standalone server', () => {
  it('listens on two ports, one for each service', async () => {
    const server = await serve().started();
    const client = new GrpcClient(portOf(server, 'Inference'), portOf(server, 'Management'));
    try {
      expect((await client.call(inferenceCall('Ping', {}))).code).toBe(status.OK);
      expect((await client.call(managementCall('ListModels', { limit: 1 }))).code).toBe(status.OK);
      const elsewhere = { ...managementCall('ListModels', {}), target: 'grpc_inference' } as const;
      expect((await client.call(elsewhere)).code).toBe(status.UNIMPLEMENTED);
      // As in TorchServe, models are not registered unless that is turned on.
      expect(await client.call(managementCall('RegisterModel', { url: 'a.mar' }))).toMatchObject({
        code: status.PERMISSION_DENIED,
        details: 'Model API disabled\norg.pytorch.serve.archive.model.ModelException',
      });
    } finally {
      client.close();
      expect(await server.stop()).toBe(0);
    }
  });

  it('asks for the key of each service, for streams of requests, too', async () => {
    const server = await serve({ MARLINE_DISABLE_TOKEN_AUTHORIZATION: 'false' }).started();
    const client = new GrpcClient(portOf(server, 'Inference'), portOf(server, 'Management'));
    const keys = JSON.parse(readFileSync(join(folder, 'key_file.json'), 'utf8')) as Record<
      string,
      { key: string }
    >;
    const withKey = (name: string) => ({
      metadata: [['authorization', `Bearer ${keys[name]?.key}`]] as const,
    });
    const request = { model_name: 'nosuch' };
    const calls = [
      [inferenceCall('Ping', {}), 'inference', 'management'],
      [inferenceCall('Predictions', request), 'inference', 'API'],
      [inferenceCall('StreamPredictions2', request), 'inference', 'management'],
      [managementCall('ListModels', { limit: 1 }), 'management', 'inference'],
      [managementCall('RegisterModel', { url: 'a.mar' }), 'management', 'inference'],
    ] as const;
    try {
      for (const [call, right, wrong] of calls) {
        for (const refused of [call, { ...call, ...withKey(wrong) }])
          expect(await client.call(refused)).toMatchObject({
            code: status.PERMISSION_DENIED,
            details: 'Token Authorization failed. Token either incorrect, expired, or not provided correctly',
          });
        expect((await client.call({ ...call, ...withKey(right) })).details).not.toContain('Token');
      }
    } finally {
      client.close();
      expect(await server.stop()).toBe(0);
    }
  });

  it.each([
    [
      'both services on one port',
      { MARLINE_GRPC_INFERENCE_PORT: '7', MARLINE_GRPC_MANAGEMENT_PORT: '7' },
      'are both 7',
    ],
    ['no port', { MARLINE_GRPC_INFERENCE_PORT: '65536' }, 'Invalid port number: 65536'],
    ['TLS without a certificate', { MARLINE_ENABLE_GRPC_SSL: 'true' }, 'certificate_file is missing'],
    [
      'a certificate that is not there',
      { MARLINE_ENABLE_GRPC_SSL: 'true', MARLINE_CERTIFICATE_FILE: 'nosuch.pem' },
      'certificate_file=nosuch.pem cannot be read',
    ],
  ])('does not start with %s', async (_, env, text) => {
    const server = serve(env);
    expect(await server.exited()).toBe(1);
    expect(server.output).toContain(text);
  });

  it('names the key of a port that is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const server = serve({ MARLINE_GRPC_MANAGEMENT_PORT: String(port) });
    expect(await server.exited()).toBe(1);
    expect(server.output).toContain('grpc_management_address');
    expect(server.output).toContain('the port is in use');
    other.close();
  });
});
