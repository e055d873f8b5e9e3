import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { RecordedTerminal } from '../cli/terminal.js';
import { MarlineProcess, packSamples, readiness } from './server-process.js';

const images = fileURLToPath(new URL('../fixtures/images/', import.meta.url));
const models = fileURLToPath(new URL('../fixtures/models/', import.meta.url));
let folder: string;
let server: MarlineProcess;
let inference: string;
let management: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-standalone-'));
  const store = join(folder, 'store');
  await packSamples(store);
  const mlp = ['--model-name', 'mlp', '--version', '1.0', '--runtime', 'node', '--handler', 'tensor'];
  mlp.push('--serialized-file', `${models}mlp.onnx`);
  expect(await run(['archive', ...mlp, '--export-path', store], new RecordedTerminal())).toBe(0);
  const properties = [
    'inference_address=http://127.0.0.1:0',
    'management_address=http://127.0.0.1:0',
    'metrics_address=http://127.0.0.1:0',
    'disable_token_authorization=true',
    'load_models=all',
    'default_workers_per_model=1',
    'netty_client_threads=4',
    'inference_adress=http://127.0.0.1:1',
  ];
  writeFileSync(join(folder, 'config.properties'), properties.join('\n'));
  server = new MarlineProcess(['serve', '--model-store', 'store'], { cwd: folder });
  await server.started();
  inference = server.address('Inference');
  management = server.address('Management');
  await readiness(inference, ['efficientnet', 'mlp', 'mnist']);
});

afterAll(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

async function predict(model: string, image: string): Promise<unknown> {
  const body = readFileSync(`${images}${image}`);
  const response = await fetch(`${inference}/predictions/${model}`, { method: 'POST', body });
  expect(response.status).toBe(200);
  return response.json();
}

describe('the standalone server', () => {
  it('sees espresso in a cup of coffee', async () => {
    const labels = (await predict('efficientnet', 'coffee.jpg')) as Record<string, number>;
    expect(Object.keys(labels)).toHaveLength(5);
    expect(Object.keys(labels)[0]).toContain('espresso');
    expect(Math.abs(Object.values(labels)[0]! - 0.95)).toBeLessThan(0.03);
  });

  it('sees a cat in a cat', async () => {
    const labels = (await predict('efficientnet', 'chelsea.jpg')) as Record<string, number>;
    expect(Object.keys(labels)[0]).toMatch(/tabby|tiger cat|Egyptian cat/);
  });

  it('reads ten digits with the handler that came in the archive', async () => {
    const digits = Array.from({ length: 10 }, (_, digit) => digit);
    const answers = await Promise.all(digits.map((digit) => predict('mnist', `digit_${digit}.png`)));
    expect(answers).toEqual(digits.map((digit) => ({ digit, probability: expect.closeTo(1, 0) as number })));
  });

  it('takes a picture from curl -T and from a form', async () => {
    const { stdout } = await promisify(execFile)('curl', [
      '-sS',
      `${inference}/predictions/mnist`,
      '-T',
      `${images}digit_4.png`,
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ digit: 4 });
    const form = await promisify(execFile)('curl', [
      '-sS',
      `${inference}/predictions/mnist`,
      '-F',
      `data=@${images}digit_5.png`,
    ]);
    expect(JSON.parse(form.stdout)).toMatchObject({ digit: 5 });
  });

  it('answers the client of the command line', async () => {
    const terminal = new RecordedTerminal();
    const files = [3, 1, 4].map((digit) => `${images}digit_${digit}.png`);
    expect(await run(['predict', ...files, '--model', 'mnist', '--url', inference], terminal)).toBe(0);
    const answers = terminal.stdout.text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { answer: { digit: number } }).answer.digit);
    expect(answers).toEqual([3, 1, 4]);
    const missing = new RecordedTerminal();
    expect(await run(['predict', files[0]!, '--model', 'nosuch', '--url', inference], missing)).toBe(1);
    expect(missing.stderr.text).toContain('404 ModelNotFoundException: Model not found: nosuch');
  });

  it('takes a NumPy array for the tensor handler', async () => {
    const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 128), }\n";
    const length = Buffer.from([header.length, 0]);
    const values = Buffer.from(new Float32Array(128).fill(0.5).buffer);
    const file = join(folder, 'x.npy');
    writeFileSync(
      file,
      Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, Buffer.from(header), values]),
    );
    const terminal = new RecordedTerminal();
    const args = ['predict', file, '--model', 'mlp', '--input', 'input', '--url', inference];
    expect({ code: await run(args, terminal), stderr: terminal.stderr.text }).toMatchObject({ code: 0 });
    expect(JSON.parse(terminal.stdout.text)).toMatchObject({
      model_name: 'mlp',
      outputs: [{ shape: [1, 10] }],
    });
  });

  it('serves each API on its own port only', async () => {
    const statuses = async (base: string) => {
      const paths = ['/ping', '/models', '/health/live'];
      return Promise.all(paths.map(async (path) => (await fetch(`${base}${path}`)).status));
    };
    expect(await statuses(inference)).toEqual([200, 404, 200]);
    expect(await statuses(management)).toEqual([404, 200, 404]);
    expect(await statuses(server.address('Metrics'))).toEqual([404, 404, 404]);
  });

  it('refuses registration unless it was enabled', async () => {
    const response = await fetch(`${management}/models?url=mnist.mar&model_name=more`, { method: 'POST' });
    expect(response.status).toBe(405);
  });

  it('tells at start what it listens on, what it ignores and where values come from', () => {
    expect(server.output).toContain('Inference address: http://127.0.0.1:0 (file)');
    expect(server.output).toContain('(command line)');
    expect(server.output).toContain(
      'inference_adress in config.properties has no effect: it is unknown, perhaps misspelt.',
    );
    expect(server.output.match(/API bind to: http:\/\/127\.0\.0\.1:\d+/g)).toHaveLength(3);
  });
});
