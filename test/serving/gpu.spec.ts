import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectDevices, ServedModel } from '#libs/inference';
import { fixture, mlpInput, openRegistry, predict, type OpenRegistry } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp } from '../support/serve-app.js';

// On a machine with a GPU that ONNX Runtime can use (docs/operations.md says what that needs); elsewhere this file is skipped.
const devices = await detectDevices();
const hasGpu = devices.some(({ kind, onlyPython }) => kind === 'gpu' && onlyPython !== true);
const { python } = hasGpu ? await pythonVenv() : {};
const ON_GPU = "marline: { devices: ['cuda:0'] }";
/** A GPU computes in another order, and multiplies in TF32. */
const CLOSE = 2;

let open: OpenRegistry;
beforeAll(async () => {
  if (hasGpu) open = await openRegistry({ jobQueueSize: 1000, ...(python !== undefined && { python }) });
});
afterAll(() => open?.close());

async function register(modelName: string, yaml: string, model: object, initialWorkers = 1) {
  const configFile = join(open.store, `${modelName}.yaml`);
  writeFileSync(configFile, yaml);
  await open.pack({ modelName, handler: 'tensor', configFile, ...model });
  return open.registry.register({ url: `${modelName}.mar`, initialWorkers, synchronous: true });
}

const MLP = { serializedFile: 'models/mlp.onnx' };
const CNN = { serializedFile: 'models/cnn-50ms.onnx' };
const image = () => ({
  input: { dtype: 'float32' as const, shape: [1, 3, 224, 224], data: new Float32Array(150_528).fill(0.5) },
});
const logits = (answer: unknown) =>
  Array.from(Object.values(answer as Record<string, { data: Float32Array }>)[0]?.data ?? []);

function usedMb(): number {
  const argv = ['--query-gpu=memory.used', '--format=csv,noheader,nounits', '--id=0'];
  return Number(execFileSync('nvidia-smi', argv, { encoding: 'utf8' }));
}

describe.skipIf(!hasGpu)('a model on a GPU', () => {
  it.each(['thread', 'process', 'none'])('answers as on the CPU (isolation: %s)', async (isolation) => {
    await register(`gpu-${isolation}`, `marline: { devices: ['cuda:0'], isolation: ${isolation} }`, MLP);
    await register(`cpu-${isolation}`, 'marline: { devices: [cpu] }', MLP);
    const [onGpu, onCpu] = await Promise.all(
      ['gpu', 'cpu'].map(async (where) =>
        logits(await predict(open.registry, `${where}-${isolation}`, mlpInput(0.5))),
      ),
    );
    expect(onGpu).toHaveLength(10);
    for (const [index, value] of onCpu!.entries()) expect(onGpu?.[index]).toBeCloseTo(value, CLOSE);
    expect(open.registry.get(`gpu-${isolation}`).workers()[0]?.gpuId).toBe(0);
  });

  it('goes where the plan says, and shares one GPU among its workers', async () => {
    await register('planned', ON_GPU, MLP, 1);
    const runtime = open.registry.get('planned');
    for (const workers of [2, 4]) {
      await open.registry.scale('planned', undefined, workers, workers, { synchronous: true });
      expect(runtime.workers().map(({ gpuId }) => gpuId)).toEqual(Array.from({ length: workers }, () => 0));
      await Promise.all(Array.from({ length: 200 }, () => predict(open.registry, 'planned', mlpInput())));
    }
    await open.pack({
      modelName: 'plan',
      handler: 'tensor',
      configFile: join(open.store, 'planned.yaml'),
      ...MLP,
    });
    const plan = await open.registry.plan({ url: 'plan.mar', initialWorkers: 2, synchronous: true });
    expect(plan).toMatchObject({ devices: ['cuda:0', 'cuda:0'], warnings: [] });
  });

  it("goes to a GPU as TorchServe's deviceType asks, and to both devices of a list", async () => {
    const byType = await register('by-type', 'deviceType: gpu', MLP);
    expect(byType.workers().map(({ gpuId }) => gpuId)).toEqual([0]);
    const both = await register('both', "marline: { devices: ['cuda:0', cpu] }", MLP, 2);
    expect(both.workers().map(({ gpuId }) => gpuId)).toEqual([0, null]);
    await Promise.all(Array.from({ length: 200 }, () => predict(open.registry, 'both', mlpInput())));
  });

  it('that is not there is refused, or goes to the CPU where that is allowed', async () => {
    await expect(register('lost', "marline: { devices: ['cuda:77'] }", MLP)).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('asks for cuda:77, and this machine has cpu, cuda:0') as string,
    });
    const fallen = await register('fallen', "marline: { devices: ['cuda:77'], cpuFallback: true }", MLP);
    expect(fallen.workers()[0]?.gpuId).toBeNull();
  });

  it('loses no request when workers go while they run, and gives its memory back', async () => {
    const before = usedMb();
    await register('busy', ON_GPU, CNN, 4);
    const loaded = usedMb();
    const requests = Array.from({ length: 200 }, () => predict(open.registry, 'busy', image()));
    await open.registry.scale('busy', undefined, 1, 1, { synchronous: true });
    const answers = (await Promise.all(requests)).map(logits);
    const [first] = answers;
    for (const answer of answers)
      for (const [index, value] of answer.entries()) expect(value).toBeCloseTo(first?.[index] ?? NaN, CLOSE);
    const one = usedMb();
    await open.registry.unregister('busy');
    const after = usedMb();
    console.log(`GPU memory, MB: ${before}, four workers ${loaded}, one left ${one}, unregistered ${after}`);
    expect(loaded).toBeGreaterThan(before);
    expect(after).toBeLessThan(loaded);
  });

  it('is replaced without a failed request', async () => {
    await register('swapped', ON_GPU, MLP);
    let running = true;
    const client = async () => {
      let answered = 0;
      for (; running; answered++) await predict(open.registry, 'swapped', mlpInput());
      return answered;
    };
    const clients = Array.from({ length: 8 }, client);
    await open.pack({
      modelName: 'swapped',
      version: '2.0',
      handler: 'tensor',
      configFile: join(open.store, 'swapped.yaml'),
      ...MLP,
    });
    await open.registry.replace({ url: 'swapped.mar', synchronous: true });
    running = false;
    for (const answered of await Promise.all(clients)) expect(answered).toBeGreaterThan(0);
    expect(open.registry.get('swapped').version).toBe('2.0');
  });

  it('classifies a photo as on the CPU', async () => {
    const place = (name: string, yaml: string) => {
      const configFile = join(open.store, `${name}.yaml`);
      writeFileSync(configFile, yaml);
      return { fixture: 'efficientnet' as const, name, configFile };
    };
    const app = await serveApp({
      models: [place('photo-gpu', ON_GPU), place('photo-cpu', 'marline: { devices: [cpu] }')],
    });
    const body = readFileSync(fixture('images/coffee.jpg'));
    const [onGpu, onCpu] = await Promise.all(
      ['gpu', 'cpu'].map(async (where) => {
        const response = await fetch(`${app.url}/predictions/photo-${where}`, { method: 'POST', body });
        return (await response.json()) as Record<string, number>;
      }),
    );
    await app.close();
    expect(Object.keys(onGpu!)[0]).toBe('espresso');
    for (const [label, value] of Object.entries(onCpu!)) expect(onGpu?.[label]).toBeCloseTo(value, CLOSE);
  });

  it.skipIf(python === undefined)('with a Python handler is told its GPU, and computes there', async () => {
    const handler = fileURLToPath(new URL('../python/handlers/torch_device_handler.py', import.meta.url));
    await register('torch', ON_GPU, { handler }, 2);
    const model = new ServedModel('torch', open.registry);
    expect(await Promise.all([1, 2, 3, 4].map((value) => model.predict(Buffer.from(String(value)))))).toEqual(
      [2, 4, 6, 8].map((doubled) => ({ doubled, device: 'cuda:0', gpu_id: 0 })),
    );
  });
});
