import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const fixtures = join(root, 'test/fixtures');

/** What a backend that mounts the plugin looks like; the same source is compiled to ESM and to CommonJS. */
const GATEWAY = `
import 'reflect-metadata';
import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { BaseHandler, InjectModel, MarlineModule, ModelHandler, ServedModel, tensor, type Tensors } from 'marline';

@Injectable()
class Features { values(seed: number): Float32Array { return new Float32Array(128).fill(seed); } }

@ModelHandler('scores')
class ScoresHandler extends BaseHandler<number, { best: number }> {
  constructor(private readonly features: Features) { super(); }
  preprocess(seed: number): Tensors {
    return { input: tensor('float32', this.features.values(seed), [1, 128]) };
  }
  postprocess(outputs: Tensors): { best: number } {
    const scores = outputs['logits']!.data as Float32Array;
    return { best: scores.indexOf(Math.max(...scores)) };
  }
}

@Controller('best')
class BestController {
  constructor(@InjectModel('scores') private readonly scores: ServedModel<number, { best: number }>) {}
  @Get() best() { return this.scores.predict(3, { deadlineMs: 5_000 }); }
}

@Module({
  imports: [
    MarlineModule.forRoot({ mount: 'ml', modelStore: process.env['STORE']!, loadModels: ['all'], defaultWorkersPerModel: 1, cacheDir: process.env['CACHE']! }),
    MarlineModule.forFeature(['scores']),
  ],
  providers: [Features, ScoresHandler],
  controllers: [BestController],
})
class GatewayModule {}

async function main() {
  const app = await NestFactory.create<NestFastifyApplication>(GatewayModule, new FastifyAdapter(), { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  for (let ready = false; !ready; ) {
    ready = (await fetch(url + '/ml/health/ready')).ok;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const best = await (await fetch(url + '/best')).json();
  const { readFileSync } = await import('node:fs');
  const digit = await (await fetch(url + '/ml/predictions/mnist', { method: 'POST', body: readFileSync(process.env['DIGIT']!) })).json();
  await app.close();
  console.log(JSON.stringify({ best, digit }));
}
void main();
`;

let folder: string;
let tarball: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'marline-consumers-'));
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: root });
  tarball = join(folder, (await readdir(folder)).find((name) => name.endsWith('.tgz')) ?? '');
}, 120_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

async function consumer(
  name: string,
  type: 'module' | 'commonjs',
): Promise<{ stdout: string; stderr: string }> {
  const app = join(folder, name);
  await mkdir(join(app, 'store'), { recursive: true });
  await writeFile(
    join(app, 'package.json'),
    JSON.stringify({
      name,
      private: true,
      type,
      dependencies: {
        '@nestjs/common': '12.5.1',
        '@nestjs/core': '12.5.1',
        '@nestjs/platform-fastify': '12.5.0',
        '@nestjs/terminus': '12.1.0',
        'reflect-metadata': '0.2.2',
        rxjs: '7.8.2',
        marline: `file:${tarball}`,
      },
    }),
  );
  await writeFile(join(app, 'main.ts'), GATEWAY);
  await writeFile(
    join(app, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        strict: true,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        skipLibCheck: true,
        types: ['node'],
        typeRoots: [join(root, 'node_modules/@types')],
      },
      include: ['main.ts'],
    }),
  );
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: app, env });
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'], { cwd: app });

  const marline = (...argv: string[]) => run(join(app, 'node_modules/.bin/marline'), argv, { cwd: app });
  await marline(
    'archive',
    '--model-name',
    'scores',
    '-v',
    '1.0',
    '--handler',
    'scores',
    '--runtime',
    'node',
    '--serialized-file',
    join(fixtures, 'models/mlp.onnx'),
    '--export-path',
    'store',
  );
  await marline(
    'archive',
    '--model-name',
    'mnist',
    '-v',
    '1.0',
    '--handler',
    join(fixtures, 'handlers/mnist_handler.mjs'),
    '--serialized-file',
    join(fixtures, 'models/mnist_cnn.onnx'),
    '--export-path',
    'store',
  );
  return run(process.execPath, ['main.js'], {
    cwd: app,
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      STORE: join(app, 'store'),
      CACHE: join(app, 'cache'),
      DIGIT: join(fixtures, 'images/digit_7.png'),
    },
    timeout: 120_000,
  });
}

describe('the packed tarball', () => {
  it.each([
    ['an ESM NestJS application', 'esm', 'module'],
    ['a CommonJS NestJS application', 'cjs', 'commonjs'],
  ] as const)(
    'is mounted by %s: types, injection, routes, workers and archive handlers',
    async (_title, name, type) => {
      const { stdout } = await consumer(name, type);
      const answers = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
        best: { best: number };
        digit: { digit: number };
      };
      // What plain onnxruntime-node answers for the same input.
      expect(answers.best.best).toBe(4);
      expect(answers.digit.digit).toBe(7);
    },
    300_000,
  );

  it('serves without gRPC and a document where their packages are not installed, and says so', async () => {
    const app = join(folder, 'esm');
    const free = Object.fromEntries(
      ['INFERENCE', 'MANAGEMENT', 'METRICS'].map((plane) => [
        `MARLINE_${plane}_ADDRESS`,
        'http://127.0.0.1:0',
      ]),
    );
    const args = ['serve', '--model-store', 'store', '--models', 'mnist.mar'];
    const server = spawn(join(app, 'node_modules/.bin/marline'), args, {
      cwd: app,
      env: { ...process.env, ...free },
    });
    let output = '';
    let documented: string | undefined;
    for await (const chunk of server.stdout) {
      output += String(chunk);
      if (!output.includes('Model server started.') || documented !== undefined) continue;
      const [url = ''] = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(output) ?? [];
      documented = await (await fetch(`${url}/openapi.json`)).text();
      server.kill('SIGTERM');
    }
    expect(documented).toContain('The document needs the package @nestjs/swagger; npm install');
    expect(output).toContain('There is no gRPC: it needs the packages @nestjs/microservices');
    expect(output).toContain('Model server stopped.');
  }, 60_000);

  it('holds no sources, tests, maps or build information', async () => {
    const { stdout } = await run('tar', ['tzf', tarball]);
    const files = stdout.trim().split('\n');
    expect(files).toContain('package/dist/src/cli.js');
    expect(files).toContain('package/dist/src/convert/export_onnx.py');
    expect(files).toContain('package/dist/libs/grpc/proto/google/rpc/status.proto');
    expect(files).toContain('package/LICENSE');
    expect(files.filter((file) => /\.spec\.|\.map$|tsbuildinfo|\/test\/|(?<!\.d)\.ts$/.test(file))).toEqual(
      [],
    );
  });
});
