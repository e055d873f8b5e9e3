import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { RecordedTerminal } from '../cli/terminal.js';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp, type ServedApp } from '../support/serve-app.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`The Python skeleton is not served: ${missing}.`);

const NAME = '2nd.fraud-model';
/** Scores of the two classes: the sum of the values, and their number. */
const MAKE_MODEL = `
import sys, torch
model = torch.nn.Linear(3, 2)
with torch.no_grad():
    model.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    model.bias.copy_(torch.tensor([0.0, 3.0]))
torch.jit.script(model).save(sys.argv[1])`;
const SETUP_MS = 120_000;

let served: ServedApp;
let folder: string;

async function marline(...args: string[]): Promise<void> {
  const terminal = new RecordedTerminal();
  expect(await run(args, terminal), terminal.stderr.text).toBe(0);
}

beforeAll(async () => {
  if (python === undefined) return;
  served = await serveApp({ options: { python } });
  folder = join(served.models.store, 'sources');
  mkdirSync(folder);
  await marline('handler', 'new', NAME, '--runtime', 'python', '--dir', folder);
  const model = join(folder, 'model.pt');
  await promisify(execFile)(python, ['-c', MAKE_MODEL, model]);
  const archive = ['--model-name', NAME, '--version', '1.0', '--handler', join(folder, 'handler.py')];
  archive.push('--serialized-file', model, '--export-path', served.models.store);
  await marline('archive', ...archive);
  await served.registry.register({
    url: `${NAME}.mar`,
    initialWorkers: 1,
    batchSize: 4,
    maxBatchDelay: 50,
    synchronous: true,
  });
}, SETUP_MS);
afterAll(() => served?.close());

const ask = (body: string, contentType = 'application/json') =>
  fetch(`${served.url}/predictions/${NAME}`, {
    method: 'POST',
    headers: { 'content-type': contentType },
    body,
  });

describe.skipIf(python === undefined)('marline handler new --runtime python', () => {
  it('writes a handler whose tests pass', async () => {
    expect(readdirSync(folder).filter((name) => !/^model|cache/.test(name))).toEqual([
      'README.md',
      'handler.py',
      'test_handler.py',
    ]);
    const { stderr } = await promisify(execFile)(python!, ['-B', '-m', 'unittest'], { cwd: folder });
    expect(stderr).toMatch(/Ran 3 tests[^]*OK/);
  });

  it('that answers each request of a batch as it is', async () => {
    const answers = await Promise.all(
      ['[1, 2, 3]', '[0, 0, 1]'].map(async (values) => (await ask(`{"values": ${values}}`)).json()),
    );
    expect(answers).toEqual([
      { index: 0, score: 6 },
      { index: 1, score: 3 },
    ]);
  });

  it.each([
    ['no JSON', 'text', 'text/plain'],
    ['no values', '{}', 'application/json'],
    ['values that are no numbers', '{"values": ["1"]}', 'application/json'],
  ])('says what to send when there are %s', async (_, body, contentType) => {
    const response = await ask(body, contentType);
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('Send JSON like');
  });
});
