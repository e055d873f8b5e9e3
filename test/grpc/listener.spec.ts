import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, status } from '@grpc/grpc-js';
import { UnauthorizedException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { metadataOf } from '#libs/grpc';
import { makeCertificate } from '../support/certificates.js';
import {
  bodies,
  inferenceCall,
  managementCall,
  openGrpc,
  prediction,
  protocolCall,
  type OpenGrpc,
} from './open-grpc.js';

let served: OpenGrpc;
afterEach(() => served?.close());

const ping = () => served.client.call(inferenceCall('Ping', {}));

describe('the guards of the gateway', () => {
  const guard: CanActivate = {
    canActivate(context: ExecutionContext): boolean {
      const [token] = metadataOf(context)?.get('authorization') ?? [];
      if (token === undefined) throw new UnauthorizedException('Who are you?');
      return token === 'good';
    },
  };
  const everyCall = [
    inferenceCall('Ping', {}),
    inferenceCall('Predictions', prediction('slow', '1')),
    inferenceCall('StreamPredictions', prediction('slow', '1')),
    inferenceCall('StreamPredictions2', prediction('slow', '1', { sequence_id: 'a' })),
    managementCall('ListModels', { limit: 1 }),
    protocolCall('ServerLive', {}),
  ];

  it('are asked for every kind of call', async () => {
    served = await openGrpc({ models: ['slow'], guards: [guard] });
    for (const call of everyCall) {
      const refused = { code: status.UNAUTHENTICATED, details: 'Who are you?', messages: [] };
      expect(await served.client.call(call)).toEqual(refused);
      const wrong = { ...call, metadata: [['authorization', 'bad']] as const };
      expect(await served.client.call(wrong)).toMatchObject({ code: status.PERMISSION_DENIED, messages: [] });
      const right = { ...call, metadata: [['authorization', 'good']] as const };
      expect(await served.client.call(right)).toMatchObject({
        code: status.OK,
        messages: [expect.anything()],
      });
    }
  });

  it('that fail close the door, and nothing else', async () => {
    const broken: CanActivate = {
      canActivate: (context) =>
        context.switchToHttp().getRequest<{ headers: { token: string } }>().headers.token === '',
    };
    served = await openGrpc({ guards: [broken] });
    for (const call of everyCall) {
      const { code, details, messages } = await served.client.call(call);
      expect([code, messages]).toEqual([status.INTERNAL, []]);
      expect(details).not.toContain('undefined');
    }
  });
});

describe('a gRPC listener', () => {
  it('speaks TLS with a certificate', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'marline-tls-'));
    const files = makeCertificate(folder);
    const tls = {
      certificate: readFileSync(files.certificate),
      privateKey: readFileSync(files.privateKey),
    };
    rmSync(folder, { recursive: true });
    served = await openGrpc({ server: { tls }, channel: credentials.createSsl(tls.certificate) });
    expect((await ping()).code).toBe(status.OK);
  });

  it('answers what was accepted before it closes', async () => {
    served = await openGrpc({ models: ['slow'] });
    const running = served.client.call(inferenceCall('Predictions', prediction('slow', '300')));
    while (served.registry.all().every((runtime) => runtime.workers().every(({ state }) => state !== 'busy')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    await served.app.close();
    expect(JSON.parse(bodies(await running)[0] ?? '')).toMatchObject({ ms: 300 });
    expect((await ping()).code).toBe(status.UNAVAILABLE);
  });

  it('has no management service unless asked for', async () => {
    served = await openGrpc({ management: false, modules: [] });
    expect((await served.client.call(managementCall('ListModels', {}))).code).toBe(status.UNIMPLEMENTED);
  });
});
