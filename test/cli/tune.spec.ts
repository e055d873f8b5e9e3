import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { run } from '../../src/program.js';
import { CLI } from '../support/built.js';
import { fixture } from '../support/open-registry.js';
import { packFixture } from '../support/serve-app.js';
import { RecordedTerminal } from './terminal.js';

const SHORT = ['--rounds', '1', '--seconds', '0.4', '--threads', '1', '--workers', '1'];

let folder: string;
let output: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-tuned-'));
  output = join(folder, 'model-config.yaml');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function tune(...args: string[]) {
  const terminal = new RecordedTerminal();
  const code = await run(['tune', ...args, '--output', output], terminal);
  return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

describe('marline tune', () => {
  it('measures an .onnx file and writes what is best, and why', async () => {
    const { code, stdout, stderr } = await tune(fixture('models/mlp.onnx'), ...SHORT, '--batch-sizes', '1,4');
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`${output} was written.`),
    });
    expect(stdout.match(/^1 +1 +[14] +[28] +\d.*$/gm)).toHaveLength(2);
    expect(stdout.match(/← best$/gm)).toHaveLength(1);
    const text = readFileSync(output, 'utf8');
    expect(text).toMatch(/^# Measured by marline tune \d[^\n]+ONNX Runtime 1\.\d+\.\d+\.$/m);
    expect(text).toMatch(/^# mlp\.onnx, 1 worker × 1 thread, [^\n]+ requests\/s, p50 /m);
    expect(text).toMatch(/^# Reason: (within . % of )?the highest throughput of 2 settings/m);
    const { minWorkers, maxWorkers, batchSize = 0, warnings } = parseModelConfig(text);
    expect({ minWorkers, maxWorkers, warnings }).toEqual({ minWorkers: 1, maxWorkers: 1, warnings: [] });
    expect([1, 4]).toContain(batchSize);
  });

  it('measures an archive with requests for its handler, and keeps its own configuration', async () => {
    const config = join(folder, 'own.yaml');
    writeFileSync(config, '# mine\nmaxBatchDelay: 0\njobQueueSize: 1\nlabels: [a]\n');
    const archive = join(folder, await packFixture(folder, { fixture: 'mnist', configFile: config }));
    const args = [
      archive,
      ...SHORT,
      '--force',
      '--batch-sizes',
      '2',
      '--input',
      fixture('images/digit_7.png'),
      '--json',
    ];
    writeFileSync(output, 'overwritten with --force');
    const { code, stdout } = await tune(...args);
    expect(code).toBe(0);
    const { results, best, story } = JSON.parse(stdout) as {
      results: {
        callers: number;
        measured: { throughput: number; peakRssMb: number; runTimes: { items: number }[] };
      }[];
      best: unknown;
      story: string[];
    };
    expect(best).toEqual({ batchSize: 2, workers: 1, intraOpThreads: 1 });
    expect(results).toMatchObject([{ callers: 4 }]);
    const { throughput, peakRssMb, runTimes } = results[0]!.measured;
    expect(throughput).toBeGreaterThan(0);
    expect(peakRssMb).toBeGreaterThan(20);
    expect(runTimes.map(({ items }) => items)).toContain(2);
    expect(story.join()).not.toContain('--input FILE');
    const text = readFileSync(output, 'utf8');
    expect(text).toContain('# mine\nmaxBatchDelay: 0\njobQueueSize: 1\nlabels: [ a ]\n');
    expect(parseModelConfig(text)).toMatchObject({ batchSize: 2, jobQueueSize: 1, minWorkers: 1 });
  });

  it('tells why an archive cannot be served', async () => {
    const broken = join(folder, 'broken.onnx');
    writeFileSync(broken, 'no model');
    const { code, stderr } = await tune(broken, ...SHORT);
    expect(code).toBe(1);
    expect(stderr).toMatch(/error: The model file broken\.onnx cannot be used: /);
    expect(existsSync(output)).toBe(false);
  });

  it('tells what the model says about the request', async () => {
    const archive = join(folder, await packFixture(folder, 'mlp'));
    const { code, stderr } = await tune(archive, ...SHORT, '--input', fixture('images/digit_7.png'));
    expect(code).toBe(1);
    expect(stderr).toContain('The request is not valid JSON.');
  });

  it('asks for a request where none can be made up', async () => {
    const archive = join(folder, await packFixture(folder, 'slow'));
    const { code, stderr } = await tune(archive, ...SHORT);
    expect(code).toBe(1);
    expect(stderr).toContain('give a request that it answers with --input FILE');
  });

  it('overwrites nothing unless it is told to', async () => {
    writeFileSync(output, 'mine');
    const { code, stderr } = await tune(fixture('models/mlp.onnx'), ...SHORT);
    expect(code).toBe(1);
    expect(stderr).toContain(`${output} exists already; nothing was measured.`);
    expect(readFileSync(output, 'utf8')).toBe('mine');
  });

  it('writes nothing when Ctrl-C comes', async () => {
    const args = ['tune', fixture('models/mlp.onnx'), ...SHORT, '--seconds', '60', '--output', output];
    const child = fork(CLI, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    let errors = '';
    child.stderr!.on('data', (text: Buffer) => {
      errors += text.toString();
      // Once: a second Ctrl-C ends the command without a word.
      if (errors.includes('round 1 of 1') && !child.killed) child.kill('SIGINT');
    });
    const [code] = (await once(child, 'exit')) as [number];
    expect(code).toBe(1);
    expect(errors).toContain('nothing was written');
    expect(existsSync(output)).toBe(false);
  });

  it.each([
    [['nosuch.mar'], 'File not found: nosuch.mar.'],
    [[fixture('models/mlp.onnx'), '--input', 'nosuch.png'], 'nosuch.png cannot be read'],
    [[fixture('models')], 'Model name is not defined.'],
  ])('exits 1 for %j', async (args, message) => {
    const { code, stderr } = await tune(...args);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    [[], "missing required argument 'model'"],
    [['m.mar', '--batch-sizes', '1,x'], 'Write it as whole numbers from 1 to 1024, such as 1,2,4.'],
    [['m.mar', '--workers', '0'], 'Write it as whole numbers'],
    [['m.mar', '--rounds', '0'], 'It is a whole number from 1 up'],
    [['m.mar', '--seconds', '-1'], 'It is a number above 0'],
    [['m.mar', '--deadline', '5'], 'Did you mean --deadline-ms?'],
  ])('exits 2 for %j', async (args, message) => {
    const { code, stderr } = await tune(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
