import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate, openssl } from '../support/certificates.js';
import { freePort } from '../support/free-port.js';
import { exchange } from '../support/http-exchange.js';
import { webRequest } from '../support/web-request.js';
import { ServerFolder } from './open-server.js';
import { FREE_PORTS, MarlineProcess, portOf } from './server-process.js';

const SECURE = 'https://127.0.0.1:0';
const EVERYWHERE = { inference_address: SECURE, management_address: SECURE, metrics_address: SECURE };
const PEM = { certificate_file: 'server-certificate.pem', private_key_file: 'server-key.pem' };

let folder: ServerFolder;
let ca: Buffer;
const inFolder = (name: string) => join(folder.path, name);

beforeAll(async () => {
  folder = new ServerFolder();
  await folder.pack('mlp');
  ca = readFileSync(makeCertificate(folder.path).certificate);
  makeCertificate(folder.path, 'other');
  const store = ['-inkey', inFolder('server-key.pem'), '-in', inFolder('server-certificate.pem')];
  openssl('pkcs12', '-export', ...store, '-passout', 'pass:changeit', '-out', inFolder('server.p12'));
  openssl('pkcs12', '-export', ...store, '-passout', 'pass:s3cret', '-out', inFolder('own-password.p12'));
  openssl(
    'pkcs12',
    '-export',
    '-nokeys',
    '-in',
    inFolder('server-certificate.pem'),
    '-passout',
    'pass:changeit',
    '-out',
    inFolder('without-key.p12'),
  );
  openssl(
    'rsa',
    '-aes256',
    '-in',
    inFolder('server-key.pem'),
    '-passout',
    'pass:abcd',
    '-out',
    inFolder('encrypted-key.pem'),
  );
  writeFileSync(inFolder('java.jks'), Buffer.from('feedfeed00000002', 'hex'));
  writeFileSync(inFolder('text.pem'), 'no certificate');
});
afterEach(() => folder.closeAll());
afterAll(() => folder.remove());

async function handshake(port: number, options: ConnectionOptions) {
  const socket = tlsConnect({ host: '127.0.0.1', port, ca, ...options });
  try {
    await once(socket, 'secureConnect');
    return { protocol: socket.getProtocol(), cipher: socket.getCipher().standardName };
  } finally {
    socket.destroy();
  }
}

describe('TLS', () => {
  it('is spoken on every port whose address begins with https', async () => {
    const server = await folder.start({ ...EVERYWHERE, ...PEM });
    const get = (plane: 'inference' | 'management' | 'metrics', path: string) =>
      webRequest({ ca, port: portOf(server, plane), path });
    expect(await get('inference', '/ping')).toMatchObject({
      status: 200,
      body: '{\n  "status": "Healthy"\n}\n',
    });
    expect(JSON.parse((await get('management', '/models')).body)).toMatchObject({
      models: [{ modelName: 'mlp' }],
    });
    const metrics = await get('metrics', '/metrics?name[]=nosuch');
    expect(metrics).toMatchObject({ status: 200, body: '' });
    expect(metrics.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect((await get('inference', '/nosuch')).status).toBe(404);
    expect(server.addresses.metrics).toMatchObject({ secure: true });
  });

  it('carries predictions, also large ones and many on one connection', async () => {
    const server = await folder.start({ ...EVERYWHERE, ...PEM });
    const tensor = (rows: number) => ({
      name: 'input',
      datatype: 'FP32',
      shape: [rows, 128],
      data: Array.from({ length: rows * 128 }, () => 0.5),
    });
    for (const rows of [1, 2_000]) {
      const answer = await webRequest(
        { ca, port: portOf(server, 'inference'), method: 'POST', path: '/v2/models/mlp/infer' },
        JSON.stringify({ inputs: [tensor(rows)] }),
      );
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.body)).toMatchObject({ outputs: [{ shape: [rows, 10] }] });
    }
    const { stdout } = await promisify(execFile)('curl', [
      '-sS',
      '--cacert',
      inFolder(PEM.certificate_file),
      ...[1, 2, 3].map(() => `https://localhost:${portOf(server, 'inference')}/ping`),
      '-w',
      '%{num_connects}\n',
    ]);
    expect(stdout.match(/^[01]$/gm)).toEqual(['1', '0', '0']);
  });

  it('stands beside plain HTTP, and may share one port for everything', async () => {
    const mixed = await folder.start({ management_address: SECURE, ...PEM });
    expect((await webRequest({ port: portOf(mixed, 'inference'), path: '/ping' })).status).toBe(200);
    expect((await webRequest({ ca, port: portOf(mixed, 'management'), path: '/models' })).status).toBe(200);
    const both = `https://127.0.0.1:${await freePort()}`;
    const shared = await folder.start({ inference_address: both, management_address: both, ...PEM });
    for (const path of ['/ping', '/models', '/metrics'])
      expect([path, (await webRequest({ ca, port: portOf(shared, 'inference'), path })).status]).toEqual([
        path,
        200,
      ]);
  });

  it('is 1.3, or 1.2 with the ciphers of TorchServe, but nothing older', async () => {
    const server = await folder.start({ inference_address: SECURE, ...PEM });
    const port = portOf(server, 'inference');
    expect(await handshake(port, {})).toMatchObject({ protocol: 'TLSv1.3' });
    const old = { maxVersion: 'TLSv1.2' } as const;
    for (const ciphers of ['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-SHA'])
      expect(await handshake(port, { ...old, ciphers })).toMatchObject({ protocol: 'TLSv1.2' });
    const older = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    await expect(handshake(port, older)).rejects.toThrow();
  });

  it('tells a client without it, and goes on after clients that fail', async () => {
    const server = await folder.start({ inference_address: SECURE, ...PEM });
    const port = portOf(server, 'inference');
    // As recorded of TorchServe.
    const body = '{\n  "status": "This TorchServe instance only accepts HTTPS requests"\n}\n';
    const head = [
      'HTTP/1.1 403 Forbidden',
      'content-type: application/json',
      'Pragma: no-cache',
      'Cache-Control: no-cache; no-store, must-revalidate, private',
      'Expires: Thu, 01 Jan 1970 00:00:00 UTC',
      'content-length: 71',
      'connection: close',
    ];
    const refused = { text: `${head.join('\r\n')}\r\n\r\n${body}`, closed: true };
    expect(await exchange(port, 'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n')).toEqual(refused);
    expect(
      await exchange(
        port,
        `POST /predictions/mlp HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n${'x'.repeat(300_000)}`,
      ),
    ).toEqual(refused);
    expect(await exchange(port, '\x16\x03\x01\x00\x05hello')).toMatchObject({ closed: true });
    const stranger = webRequest({ protocol: 'https:', port, path: '/ping' });
    await expect(stranger).rejects.toThrow('self-signed certificate');
    const elsewhere = webRequest({ ca, port, path: '/ping', servername: 'example.com' });
    await expect(elsewhere).rejects.toThrow('does not match');
    expect((await webRequest({ ca, port, path: '/ping' })).status).toBe(200);
  });

  it('does not wait for clients that never shake hands when it stops', async () => {
    const server = await folder.start({ inference_address: SECURE, ...PEM });
    const port = portOf(server, 'inference');
    const clients = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    await Promise.all(clients.map((client) => once(client, 'connect')));
    clients[0]!.write('\x16\x03\x01', 'latin1');
    const ended = clients.map(
      (client) =>
        new Promise((resolve) => {
          client.on('error', () => {}).once('close', resolve);
        }),
    );
    await server.close();
    await Promise.all(ended);
  });

  it.each([
    ['with the password that Java takes for granted', { keystore: 'server.p12' }],
    ['with a password', { keystore: 'own-password.p12', keystore_pass: 's3cret' }],
    ['under the name of another format, as in Java', { keystore: 'server.p12', keystore_type: 'JKS' }],
    [
      'before PEM files',
      { keystore: 'server.p12', certificate_file: 'text.pem', private_key_file: 'text.pem' },
    ],
  ])('takes its certificate from a key store %s', async (_, settings) => {
    const server = await folder.start({ inference_address: SECURE, ...settings });
    expect((await webRequest({ ca, port: portOf(server, 'inference'), path: '/ping' })).status).toBe(200);
  });

  it.each([
    [
      'nothing',
      {},
      'inference_address=https://… needs a certificate: name certificate_file and private_key_file',
    ],
    [
      'no key',
      { certificate_file: PEM.certificate_file },
      'private_key_file is missing: inference_address=https://…',
    ],
    ['no certificate', { private_key_file: PEM.private_key_file }, 'certificate_file is missing'],
    [
      'a certificate that is not there',
      { ...PEM, certificate_file: 'gone.pem' },
      'certificate_file=gone.pem cannot be read (ENOENT',
    ],
    ['a folder', { ...PEM, private_key_file: 'store' }, 'private_key_file=store cannot be read (EISDIR'],
    [
      'a certificate that is none',
      { ...PEM, certificate_file: 'text.pem' },
      'certificate_file=text.pem is no PEM certificate',
    ],
    [
      'a key that is none',
      { ...PEM, private_key_file: PEM.certificate_file },
      'private_key_file=server-certificate.pem is no PEM private key',
    ],
    [
      'an encrypted key',
      { ...PEM, private_key_file: 'encrypted-key.pem' },
      'openssl pkey -in encrypted-key.pem -out key.pem',
    ],
    [
      'the key of another certificate',
      { ...PEM, private_key_file: 'other-key.pem' },
      'private_key_file=other-key.pem is not the key of certificate_file=server-certificate.pem',
    ],
    ['a key store that is not there', { keystore: 'gone.p12' }, 'keystore=gone.p12 cannot be read (ENOENT'],
    [
      'a wrong password',
      { keystore: 'own-password.p12' },
      'keystore=own-password.p12 cannot be used: keystore_pass is not its password.',
    ],
    [
      "a key store of Java's own",
      { keystore: 'java.jks', keystore_type: 'JKS' },
      'keytool -importkeystore -srckeystore java.jks -destkeystore keystore.p12 -deststoretype PKCS12',
    ],
    ['that, under another name', { keystore: 'java.jks' }, "keystore=java.jks is in Java's own format (JKS)"],
    [
      'a format that is none',
      { keystore: 'server.p12', keystore_type: 'BKS' },
      'keystore_type=BKS cannot be read, only PKCS12',
    ],
    [
      'a key store without a key',
      { keystore: 'without-key.p12' },
      'It must be a PKCS12 file with a private key and its certificate.',
    ],
    ['a key store that is none', { keystore: 'text.pem' }, 'keystore=text.pem cannot be used'],
  ])('does not start with %s', async (_, settings, text) => {
    const started = folder.start({ inference_address: SECURE, ...settings });
    await expect(started).rejects.toThrow(text);
  });

  it('never tells the password of a key store', async () => {
    const settings = { inference_address: SECURE, keystore: 'server.p12', keystore_pass: 'wr0ng-s3cret' };
    const error = await folder.start(settings).catch((reason: unknown) => reason);
    expect(String(error)).toContain('keystore_pass is not its password');
    expect(String(error)).not.toContain('wr0ng');
  });

  it('serves gRPC with the same files', async () => {
    const server = await folder.start({ inference_address: SECURE, enable_grpc_ssl: 'true', ...PEM });
    const port = server.grpc?.inference.port ?? 0;
    expect(await handshake(port, { ALPNProtocols: ['h2'] })).toMatchObject({ protocol: 'TLSv1.3' });
    const started = folder.start({ enable_grpc_ssl: 'true', ...PEM, private_key_file: 'other-key.pem' });
    await expect(started).rejects.toThrow('is not the key of certificate_file');
  });
});

describe('marline serve over TLS', () => {
  const serve = (env: Record<string, string>) =>
    new MarlineProcess(['serve', '--model-store', 'store', '--ncs'], {
      cwd: folder.path,
      env: { ...FREE_PORTS, MARLINE_INFERENCE_ADDRESS: SECURE, ...env },
    });

  it('tells where it listens', async () => {
    const server = await serve({
      MARLINE_CERTIFICATE_FILE: PEM.certificate_file,
      MARLINE_PRIVATE_KEY_FILE: PEM.private_key_file,
    }).started();
    const { port, protocol } = new URL(server.address('Inference'));
    expect(protocol).toBe('https:');
    expect((await webRequest({ ca, port, path: '/ping' })).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });

  it('exits 1 without a certificate', async () => {
    const server = serve({});
    expect(await server.exited()).toBe(1);
    expect(server.output).toContain('error: inference_address=https://… needs a certificate');
  });
});
