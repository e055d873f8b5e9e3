import { fork } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { CLI } from '../support/built.js';
import { fixture } from '../support/open-registry.js';
import { Conversion, LINEAR } from './conversion.js';

const work = new Conversion();

/** A program in place of Python; it gets the folder of the job as fourth argument. */
function fakePython(script: string): string {
  const path = join(work.folder, 'python');
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

describe('marline convert, before anything is run', () => {
  const unused = ['--python', '/no/such/python', '--input', '1x4'];

  it('says what to install when there is no Python', async () => {
    const { code, stderr } = await work.run(await work.pack(LINEAR), ...unused);
    expect(code).toBe(1);
    expect(stderr).toContain('Python cannot be started as "/no/such/python"');
    expect(stderr).toContain('--python venv/bin/python');
  });

  it('asks for the input where the handler does not tell it', async () => {
    const { code, stderr } = await work.run(await work.pack(LINEAR), '--python', '/no/such/python');
    expect(code).toBe(1);
    expect(stderr).toContain('such as --input 1x1x28x28:float32, or a NumPy file with --sample');
  });

  it('refuses an input that image_classifier does not give', async () => {
    const { code, stderr } = await work.run(
      await work.pack(LINEAR, { handler: 'image_classifier' }),
      ...unused,
    );
    expect(code).toBe(1);
    expect(stderr).toContain('image_classifier gives its model one input, Nx3x224x224:float32');
  });

  it('refuses two sizes of one free dimension', async () => {
    const two = ['--input', '1xn=4', '--input', '1xn=5'];
    const { code, stderr } = await work.run(await work.pack(LINEAR), '--python', '/no/such/python', ...two);
    expect(code).toBe(1);
    expect(stderr).toContain('The dimension n has the sizes 4 and 5; equal names are equal sizes.');
  });

  it('never writes over the archive itself', async () => {
    const archive = await work.pack(LINEAR);
    rmSync(work.out, { recursive: true });
    symlinkSync(work.store, work.out);
    const { code, stderr } = await work.run(archive, ...unused, '--force');
    expect(code).toBe(1);
    expect(stderr).toContain('is the archive itself');
  });

  it.each([
    ['nosuch.mjs', 'The handler nosuch.mjs is not a file.'],
    [
      'handler.py',
      'The handler handler.py is no JavaScript file (.js, .mjs), and no name of a handler either.',
    ],
  ])('refuses the handler %s', async (handler, message) => {
    const { code, stderr } = await work.run(await work.pack(LINEAR), ...unused, '--handler', handler);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    ['https://example.org/net.mar', 'is an address. Converting runs the archive'],
    ['nosuch.mar', 'File not found: nosuch.mar.'],
  ])('refuses %s', async (archive, message) => {
    const { code, stderr } = await work.run(archive, ...unused);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    ['no archive', 'no zip', undefined, 'Its manifest names neither a serializedFile nor a modelFile'],
    ['a manifest that is no JSON', undefined, '{', 'Failed to parse signature.json.'],
    [
      'a model file outside of it',
      undefined,
      '{"model":{"modelName":"x","modelFile":"../../net.py","handler":"base_handler"}}',
      'Its manifest names "../../net.py" as modelFile, which is not a file of the archive.',
    ],
    [
      'weights outside of it',
      undefined,
      '{"model":{"modelName":"x","serializedFile":"/etc/passwd","handler":"base_handler"}}',
      'Its manifest names "/etc/passwd" as serializedFile, which is not a file of the archive.',
    ],
    [
      'a name that leads out of the work.folder',
      undefined,
      '{"model":{"modelName":"../x","modelFile":"net.py","handler":"base_handler"}}',
      'Model name contains special characters.',
    ],
    [
      'another runtime',
      undefined,
      '{"runtime":"node","model":{"modelName":"x","modelFile":"net.py","handler":"tensor"}}',
      'Its runtime is node; only Python archives can be converted.',
    ],
    [
      'an ONNX model',
      undefined,
      '{"model":{"modelName":"x","serializedFile":"net.onnx","handler":"base_handler"}}',
      'is an ONNX model already',
    ],
  ])('refuses %s', async (_what, bytes, manifest, message) => {
    const archive = join(work.store, bytes === undefined ? 'folder' : 'bytes.mar');
    if (bytes !== undefined) writeFileSync(archive, bytes);
    if (manifest !== undefined) {
      mkdirSync(join(archive, 'MAR-INF'), { recursive: true });
      writeFileSync(join(archive, 'MAR-INF/MANIFEST.json'), manifest);
      writeFileSync(join(archive, 'net.py'), LINEAR);
      writeFileSync(join(archive, 'net.onnx'), '');
    }
    const { code, stderr } = await work.run(archive, ...unused);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(readdirSync(work.out)).toEqual([]);
  });

  it.each([
    [[], "missing required argument 'archive'"],
    [['m.mar', '--input', '1x'], 'Write it as dimensions and type'],
    [['m.mar', '--input', 'rows=1x4'], 'The first dimension is the batch axis'],
    [['m.mar', '--input', '1x4:complex64'], 'The type complex64 is not one of float32'],
    [['m.mar', '--input', '1x4', '--sample', 'x.npy'], 'cannot be used with'],
    [['m.mar', '--tolerance', '2'], 'It is a number above 0 and up to 1'],
    [['m.mar', '--timeout-ms', '0'], 'It is a whole number of milliseconds'],
  ])('exits 2 for %j', async (args, message) => {
    const { code, stderr } = await work.run(...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  it('says in its help that it runs the code of the archive', async () => {
    const { code, stdout } = await work.run('--help');
    expect(code).toBe(0);
    expect(stdout).toContain('RUNS THE CODE');
  });
});

describe('marline convert, with a program in place of Python', () => {
  it('passes none of its secrets on, and lets it work in the folder of the archive', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'hunter2');
    vi.stubEnv('PYTHONSTARTUP', '/some/file');
    const script = `env > '${work.folder}/env.txt'; ls > '${work.folder}/ls.txt'; exit 3`;
    const { code, stderr } = await work.run(
      await work.pack(LINEAR),
      '--input',
      '1x4',
      '--python',
      fakePython(script),
    );
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Python ended (exit code 3)'),
    });
    const environment = readFileSync(join(work.folder, 'env.txt'), 'utf8');
    expect(environment).toMatch(/^HOME=.*marline-convert-/m);
    expect(environment).toMatch(/^CUDA_VISIBLE_DEVICES=$/m);
    expect(environment).not.toMatch(/hunter2|PYTHONSTARTUP/);
    expect(readFileSync(join(work.folder, 'ls.txt'), 'utf8')).toBe('MAR-INF\nnet.py\n');
  });

  it('ends it, and all that it started, when the time is over', async () => {
    const script = `sleep 60 & echo $! > '${work.folder}/pid.txt'; sleep 60`;
    const archive = await work.pack(LINEAR);
    const { code, stderr } = await work.run(
      archive,
      '--input',
      '1x4',
      '--python',
      fakePython(script),
      '--timeout-ms',
      '500',
    );
    expect(code).toBe(1);
    expect(stderr).toContain('Python did not finish within 500 ms: allow more with --timeout-ms.');
    const child = Number(readFileSync(join(work.folder, 'pid.txt'), 'utf8'));
    await vi.waitFor(() => expect(isRunning(child)).toBe(false), 5000);
  });

  it('bounds what it prints, and shows the end of it', async () => {
    const script = 'yes | head -c 20000000; echo; echo the end; exit 1';
    const { code, stderr } = await work.run(
      await work.pack(LINEAR),
      '--input',
      '1x4',
      '--python',
      fakePython(script),
    );
    expect(code).toBe(1);
    expect(stderr).toContain('the end');
    expect(stderr.length).toBeLessThan(2000);
  });

  it.each([
    ['no JSON', 'ok'],
    ['no answer', '{"ok":true}'],
    [
      'a shape that is none',
      '{"ok":true,"torch":"1","model":"m","exporter":"e","batch":"free","cases":[{"inputs":[{"name":"x","dtype":"float32","shape":[-1]}],"outputs":[]}]}',
    ],
    [
      'a type that is none',
      '{"ok":true,"torch":"1","model":"m","exporter":"e","batch":"free","cases":[{"inputs":[{"name":"x","dtype":"__proto__","shape":[1]}],"outputs":[]}]}',
    ],
  ])('takes %s for no result', async (_what, result) => {
    const script = `echo '${result}' > "$4/result.json"; mkdir "$4/onnx"; echo x > "$4/onnx/model.onnx"`;
    const { code, stderr } = await work.run(
      await work.pack(LINEAR),
      '--input',
      '1x4',
      '--python',
      fakePython(script),
    );
    expect(code).toBe(1);
    expect(stderr).toContain('The program that exports the model gave a wrong answer.');
    expect(readdirSync(work.out)).toEqual([]);
  });

  it('packs the weights of a model that has them in another file', async () => {
    const ready = join(work.folder, 'ready');
    const bytes = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
    mkdirSync(join(ready, 'onnx'), { recursive: true });
    copyFileSync(fixture('models/external_weights.onnx'), join(ready, 'onnx/model.onnx'));
    writeFileSync(join(ready, 'onnx/weights.bin'), bytes(1, 2, 3, 4));
    writeFileSync(join(ready, 'case-0-input-0.bin'), bytes(1, 1, 1, 1));
    writeFileSync(join(ready, 'case-0-output-0.bin'), bytes(2, 3, 4, 5));
    const head = (name: string) => [{ name, dtype: 'float32', shape: [4] }];
    const result = { ok: true, torch: '1', model: 'm', exporter: 'e', batch: 'fixed', note: 'so' };
    const cases = [{ inputs: head('x'), outputs: head('y') }];
    writeFileSync(join(ready, 'result.json'), JSON.stringify({ ...result, cases }));
    const script = fakePython(`cp -r '${ready}/.' "$4"`);
    const { code, stderr } = await work.run(await work.pack(LINEAR), '--input', '4', '--python', script);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const { dir, files } = await work.opened();
    expect(files).toEqual(['MAR-INF', 'model.onnx', 'weights.bin']);
    expect(readFileSync(join(dir, 'weights.bin'))).toEqual(Buffer.from(bytes(1, 2, 3, 4)));
  });

  it('lets nothing that it prints reach the terminal as a command', async () => {
    const script = fakePython(`printf 'fine\\n\\033[2Jcleared'; exit 1`);
    const { stderr } = await work.run(await work.pack(LINEAR), '--input', '1x4', '--python', script);
    expect(stderr).toContain('[2Jcleared');
    expect(stderr).not.toContain('\u001b');
  });

  it('refuses a file that the engine cannot open', async () => {
    const head = '{"name":"x","dtype":"float32","shape":[1]}';
    const result = `{"ok":true,"torch":"1","model":"m","exporter":"e","batch":"free","cases":[{"inputs":[${head}],"outputs":[${head}]}]}`;
    const script = `echo '${result}' > "$4/result.json"; mkdir "$4/onnx"; echo nonsense > "$4/onnx/model.onnx"`;
    const { code, stderr } = await work.run(
      await work.pack(LINEAR),
      '--input',
      '1x4',
      '--python',
      fakePython(script),
    );
    expect(code).toBe(1);
    expect(stderr).toContain('The model file model.onnx cannot be used');
    expect(readdirSync(work.out)).toEqual([]);
  });

  it('writes nothing when Ctrl-C comes', async () => {
    const archive = await work.pack(LINEAR);
    const script = `touch '${work.folder}/started'; sleep 60`;
    const args = [
      'convert',
      archive,
      '--input',
      '1x4',
      '--python',
      fakePython(script),
      '--export-path',
      work.out,
    ];
    const child = fork(CLI, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    let errors = '';
    child.stderr!.on('data', (text: Buffer) => (errors += text.toString()));
    const exited = once(child, 'exit');
    while (!existsSync(join(work.folder, 'started')) && child.exitCode === null) await sleep(20);
    child.kill('SIGINT');
    expect(await exited).toEqual([1, null]);
    expect(errors).toContain('Interrupted: nothing was written.');
    expect(readdirSync(work.out)).toEqual([]);
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
