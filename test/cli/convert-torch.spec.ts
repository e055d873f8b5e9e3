import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packArchive } from '#libs/archive';
import { makeMnistArchives, type MnistArchives } from '../support/mnist-archives.js';
import { fixture, openRegistry } from '../support/open-registry.js';
import { preloadedPython, type PreloadedPython } from '../support/preloaded-python.js';
import { pythonVenv } from '../support/python-venv.js';
import { Conversion, LINEAR } from './conversion.js';

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const CONVERT_MS = 240_000;
/** What an export imports: two thirds of its time. */
const EXPORTER = [
  'torch',
  'torch.export._trace',
  'torch.export._patches',
  'torch.onnx._internal.exporter._compat',
  'torch._dynamo.variables',
  'torch._functorch.aot_autograd',
  'torch._inductor.utils',
  'torch.distributed.tensor',
  'onnx.reference',
  'onnxscript.function_libs.torch_lib',
  'onnxscript.optimizer',
  'onnxscript.rewriter.onnx_fusions',
];

const venv = await pythonVenv();
if (venv.missing !== undefined)
  process.stderr.write(`Conversions with PyTorch are not tested: ${venv.missing}.\n`);
const withTorch = describe.skipIf(venv.missing !== undefined);
const python = venv.python ?? '';
const work = new Conversion();

withTorch('marline convert, of MNIST', () => {
  let archives: MnistArchives;
  let made: string;
  beforeAll(async () => {
    made = mkdtempSync(join(tmpdir(), 'marline-mnist-'));
    archives = await makeMnistArchives(python, made);
  }, CONVERT_MS);
  afterAll(() => rmSync(made, { recursive: true }));

  it(
    'reads the same digits from an eager and a TorchScript archive as from the ONNX model that they were made from',
    async () => {
      const { registry, pack: packOnnx, store: served, close } = await openRegistry();
      try {
        for (const archive of [archives.eager, archives.torchScript]) {
          const args = ['--input', '1x1x28x28', '--handler', fixture('handlers/mnist_handler.mjs')];
          const { code, stderr, stdout } = await work.run(archive, ...args, '--python', python);
          expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('was written') });
          expect(stdout).toContain('pictures float32 [batch,1,28,28]');
          expect(stdout).toMatch(/5 runs with batches of 1, 1, 2, 3, 8: at most \S+e-\d+ of the largest/);
          copyFileSync(join(work.out, basename(archive)), join(served, basename(archive)));
        }
        await packOnnx({
          modelName: 'mnist',
          serializedFile: 'models/mnist_cnn.onnx',
          handler: 'handlers/mnist_handler.mjs',
        });
        const models = ['mnist', 'mnist_eager', 'mnist_script'];
        for (const model of models)
          await registry.register({
            url: `${model}.mar`,
            initialWorkers: 1,
            batchSize: 4,
            synchronous: true,
          });
        const ask = async (model: string, digit: number) => {
          const value = Uint8Array.from(readFileSync(fixture(`images/digit_${digit}.png`)));
          const answer = await registry
            .get(model)
            .predict({ id: `${model}-${digit}`, input: { kind: 'value', value } });
          if (answer.streaming || answer.result.output.kind !== 'text') throw new Error('No JSON answer.');
          return JSON.parse(answer.result.output.text) as { digit: number; probability: number };
        };
        const [onnx = [], ...converted] = await Promise.all(
          models.map((model) => Promise.all(DIGITS.map((digit) => ask(model, digit)))),
        );
        expect(onnx.map(({ digit }) => digit)).toEqual(DIGITS);
        for (const answers of converted) {
          expect(answers.map(({ digit }) => digit)).toEqual(DIGITS);
          for (const [at, { probability }] of answers.entries())
            expect(probability).toBeCloseTo(onnx[at]?.probability ?? -1, 5);
        }
      } finally {
        await close();
      }
    },
    CONVERT_MS,
  );

  it('names the hooks to write for a handler of its own, and starts no Python', async () => {
    const { code, stderr } = await work.run(
      archives.eager,
      '--input',
      '1x1x28x28',
      '--python',
      '/no/such/python',
    );
    expect(code).toBe(1);
    expect(stderr).toContain('The handler mnist_handler.py (extends BaseHandler) is Python code');
    expect(stderr).toContain('Write its preprocess, postprocess as a JavaScript handler');
    expect(stderr).toContain('--handler tensor');
  });
});

withTorch('marline convert', () => {
  let preloaded: PreloadedPython;
  beforeAll(async () => {
    preloaded = await preloadedPython(python, EXPORTER);
  }, CONVERT_MS);
  afterAll(() => preloaded.close());
  const convertWith = (...args: string[]) => work.run(...args, '--python', preloaded.python);

  it(
    'keeps version, settings and other files, and leaves behind what only Python reads',
    async () => {
      writeFileSync(
        join(work.folder, 'model-config.yaml'),
        '# mine\nbatchSize: 4\npt2:\n  compile: { enable: true }\nlabels: [a]\n',
      );
      mkdirSync(join(work.folder, 'more/data'), { recursive: true });
      writeFileSync(join(work.folder, 'more/data/words.txt'), 'words');
      writeFileSync(join(work.folder, 'requirements.txt'), 'torch');
      const archive = await work.pack(LINEAR, {
        configFile: join(work.folder, 'model-config.yaml'),
        requirementsFile: join(work.folder, 'requirements.txt'),
        extraFiles: [
          join(work.folder, 'more'),
          fixture('models/index_to_name.json'),
          fixture('torch/mnist_net.py'),
        ],
      });
      const { code, stdout, stderr } = await convertWith(archive, '--input', '1x4');
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain('left out  mnist_net.py, net.py, requirements.txt');
      expect(stdout).toContain('settings  model-config.yaml without pt2');
      expect(stdout).toContain('handler   tensor (in place of base_handler;');
      const { manifest, config, dir, files } = await work.opened();
      expect(manifest).toMatchObject({
        runtime: 'node',
        model: {
          modelName: 'net',
          modelVersion: '2.1',
          handler: 'tensor',
          serializedFile: 'model.onnx',
          configFile: 'model-config.yaml',
        },
      });
      expect(files).toEqual(['MAR-INF', 'data', 'index_to_name.json', 'model-config.yaml', 'model.onnx']);
      expect(readFileSync(join(dir, 'data/words.txt'), 'utf8')).toBe('words');
      expect(config).toMatchObject({ batchSize: 4, raw: { batchSize: 4, labels: ['a'] } });
    },
    CONVERT_MS,
  );

  it(
    'takes a picture for the input of an image_classifier, and keeps the labels',
    async () => {
      const source = `class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 7, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))

    def forward(self, x):
        return self.layers(x)
`;
      const archive = await work.pack(source, {
        handler: 'image_classifier',
        extra: { 'index_to_name.json': '{"0":"a","1":"b","2":"c","3":"d","4":"e","5":"f"}' },
      });
      const { code, stdout, stderr } = await convertWith(archive);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain("handler   image_classifier (same requests and answers as TorchServe's)");
      const { registry, store: served, close } = await openRegistry();
      try {
        copyFileSync(join(work.out, 'net.mar'), join(served, 'net.mar'));
        await registry.register({ url: 'net.mar', initialWorkers: 1, synchronous: true });
        const value = Uint8Array.from(readFileSync(fixture('images/coffee.jpg')));
        const answer = await registry.get('net').predict({ id: 'one', input: { kind: 'value', value } });
        if (answer.streaming || answer.result.output.kind !== 'text') throw new Error('No JSON answer.');
        const labels = Object.keys(JSON.parse(answer.result.output.text) as object);
        expect(labels).toHaveLength(5);
        expect('abcdef').toContain(labels[0]);
      } finally {
        await close();
      }
    },
    CONVERT_MS,
  );

  it(
    'takes whole numbers and several inputs from samples, and names what a dictionary holds',
    async () => {
      const source = `class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(1000, 8)

    def forward(self, ids, mask):
        rows = self.words(ids) * mask.unsqueeze(-1)
        return {"mean": rows.mean(1), "parts": (mask.sum(1), rows[:, 0])}
`;
      const numpy = `import numpy as np; np.save('${work.folder}/ids.npy', np.array([[7, 999, 3]])); np.save('${work.folder}/mask.npy', np.array([[1, 1, 0]], 'float32'))`;
      await promisify(execFile)(python, ['-c', numpy]);
      const archive = await work.pack(source);
      const { code, stdout, stderr } = await convertWith(
        archive,
        ...['ids.npy', 'mask.npy'].flatMap((name) => ['--sample', join(work.folder, name)]),
      );
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain('inputs    ids int64 [batch,3], mask float32 [batch,3]');
      expect(stdout).toContain(
        'outputs   mean float32 [batch,8], parts_0 float32 [batch], parts_1 float32 [batch,8]',
      );
    },
    CONVERT_MS,
  );

  it(
    'fixes the batch axis of a model whose requests must not share a run, and says why',
    async () => {
      const source = 'class Net(nn.Module):\n    def forward(self, x):\n        return x - x.mean(0)\n';
      const { code, stdout, stderr } = await convertWith(await work.pack(source), '--input', '2x4');
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain('inputs    x float32 [2,4]');
      expect(stdout).toContain('The batch axis is fixed');
      expect(stdout).toContain('the rows of a batch influence each other in its output output');
    },
    CONVERT_MS,
  );

  it(
    'fixes the batch axis when the exporter took the size of a batch for a constant',
    async () => {
      const source = `class Net(nn.Module):
    def forward(self, x):
        return torch.stack([x[row] * 2 for row in range(x.size(0))])
`;
      const { code, stdout, stderr } = await convertWith(await work.pack(source), '--input', '3x4');
      expect({ code, stderr }).toMatchObject({
        code: 0,
        stderr: expect.stringContaining('Once more, with a fixed batch axis'),
      });
      expect(stdout).toContain('inputs    x float32 [3,4]');
      expect(stdout).toContain("with a free one the engine does not give PyTorch's answers");
    },
    CONVERT_MS,
  );

  it(
    'keeps further dimensions free that the input names',
    async () => {
      const source = `class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids):
        rows = self.layer(self.words(ids))
        return rows.mean(1), rows
`;
      const { code, stdout, stderr } = await convertWith(
        await work.pack(source),
        '--input',
        '1xlength=12:int64',
      );
      expect({ code, stderr }).toMatchObject({ code: 0 });
      expect(stdout).toContain('inputs    ids int64 [batch,length]');
      expect(stdout).toContain('outputs   output_0 float32 [batch,8], output_1 float32 [batch,length,8]');
    },
    CONVERT_MS,
  );

  it.each([
    [
      'goes by the values of its input',
      'class Net(nn.Module):\n    def forward(self, x):\n        return x * 2 if x.sum() > 0 else x * 3\n',
      /depends on the values of its input \(.+\), and an export would keep only one way\. Use torch\.where/,
    ],
    [
      'has an operator without ONNX form',
      'class Net(nn.Module):\n    def forward(self, x):\n        return torch.linalg.svd(x.reshape(-1, 2, 2))[1].sum(0)\n',
      /its operator aten[.:]+_?linalg_svd\S* has no ONNX form/,
    ],
    [
      'is quantised',
      'def make():\n    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)))\n\n' +
        'class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.inner = make()\n\n    def forward(self, x):\n        return self.inner(x)\n',
      /it is quantised \(.*quantized.*\).*Convert the model that it was made from/,
    ],
    [
      'needs a GPU',
      'class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(4, 4).cuda()\n',
      /it runs on a GPU only/,
    ],
    [
      'answers by chance',
      'class Net(nn.Module):\n    def forward(self, x):\n        return x + torch.rand(4)\n',
      /its output output is another one each time/,
    ],
    [
      'answers with no tensor',
      'class Net(nn.Module):\n    def forward(self, x):\n        return {"text": "no tensor"}\n',
      /it answers with str, and only tensors/,
    ],
    [
      'takes another shape',
      LINEAR.replace('nn.Linear(4, 3)', 'nn.Linear(5, 3)'),
      /does not take this input\. 1x4:float32: RuntimeError: .*shapes.*--input or --sample/,
    ],
    [
      'takes two inputs',
      'class Net(nn.Module):\n    def forward(self, left, right):\n        return left + right\n',
      /takes left, right; 1 given/,
    ],
    [
      'is two classes',
      `${LINEAR}\nclass Other:\n    pass\n`,
      /exactly one class in net\.py, and it has Net, Other/,
    ],
    ['imports what is missing', 'import no_such_package\n', /has no package no_such_package/],
    ['is no Python', 'class Net(:\n', /does not load as TorchServe loads it.*SyntaxError/],
    [
      'ends Python',
      'import os\nprint("some last words")\nos._exit(7)\n',
      /Python ended \(exit code 7\).*some last words/,
    ],
  ])(
    'refuses a model that %s, and writes nothing',
    async (_what, source, message) => {
      const { code, stderr } = await convertWith(await work.pack(source), '--input', '1x4');
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
      expect(readdirSync(work.out)).toEqual([]);
    },
    CONVERT_MS,
  );

  it('says what to install when Python has no PyTorch', async () => {
    await promisify(execFile)('python3', ['-m', 'venv', '--without-pip', join(work.folder, 'bare')]);
    const bare = join(work.folder, 'bare/bin/python');
    const { code, stderr } = await work.run(await work.pack(LINEAR), '--input', '1x4', '--python', bare);
    expect(code).toBe(1);
    expect(stderr).toContain(`"${bare}" has no PyTorch (No module named 'torch')`);
    expect(stderr).toContain(`${bare} -m pip install torch onnx onnxscript`);
  });

  it(
    'refuses a state dict without the file of its class',
    async () => {
      writeFileSync(join(work.folder, 'net.pt'), 'no weights');
      const archive = await packArchive({
        modelName: 'net',
        version: '1.0',
        handler: 'base_handler',
        serializedFile: join(work.folder, 'net.pt'),
        exportPath: work.store,
      });
      const { code, stderr } = await convertWith(archive, '--input', '1x4');
      expect(code).toBe(1);
      expect(stderr).toContain('net.pt is no TorchScript model, and the archive names no model file');
    },
    CONVERT_MS,
  );

  it(
    'refuses answers that differ by more than the tolerance, with the difference',
    async () => {
      // Only while PyTorch itself runs it does it add something, as an operator that is exported wrongly would.
      const source =
        'class Net(nn.Module):\n    def forward(self, x):\n        return x + (0 if torch.compiler.is_exporting() else 0.5)\n';
      const { code, stderr } = await convertWith(await work.pack(source), '--input', '1x4');
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /gives other answers than PyTorch: output "output" has \S+ at element \d, PyTorch \S+; \S+ apart is allowed \(0\.0001 of its largest value\)\. This was run 1 of 5/,
      );
      expect(readdirSync(work.out)).toEqual([]);
    },
    CONVERT_MS,
  );

  it(
    'overwrites an archive only when it is told to',
    async () => {
      const archive = await work.pack(LINEAR);
      writeFileSync(join(work.out, 'net.mar'), 'mine');
      const refused = await convertWith(archive, '--input', '1x4');
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain('net.mar exists already; nothing was run');
      expect(readFileSync(join(work.out, 'net.mar'), 'utf8')).toBe('mine');
      const { code } = await convertWith(archive, '--input', '1x4', '--force');
      expect(code).toBe(0);
      expect((await work.opened()).files).toContain('model.onnx');
    },
    CONVERT_MS,
  );
});
