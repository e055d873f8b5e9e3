import { describe, expect, it } from 'vitest';
import {
  EMPTY_MANIFEST,
  defaultModelName,
  formatCreatedOn,
  formatManifest,
  parseManifest,
  validateManifest,
} from './manifest.js';

const invalid = (reason: string) =>
  expect.objectContaining({ code: 'ARCHIVE_INVALID', message: reason, status: 400 });

describe('parseManifest', () => {
  it('ignores unknown keys and takes python for a runtime that is not named', () => {
    expect(parseManifest('{"model":{"modelName":"m","colour":"red"},"x":1}')).toEqual({
      runtime: 'python',
      model: { modelName: 'm' },
    });
  });

  it.each([['"java"'], ['"PYTHON"'], ['null'], ['3']])('makes the unknown runtime %s null', (runtime) => {
    expect(parseManifest(`{"runtime":${runtime}}`).runtime).toBeNull();
  });

  it('knows node as a runtime', () => {
    expect(parseManifest('{"runtime":"node"}').runtime).toBe('node');
  });

  it('keeps the spelling of a number where a text belongs', () => {
    const text = '{"model":{"modelVersion": 1.0, "modelName": 7, "handler": true}}';
    expect(parseManifest(text).model).toEqual({ modelVersion: '1.0', modelName: '7', handler: 'true' });
  });

  it.each([
    ['{ not json'],
    [''],
    ['[]'],
    ['"x"'],
    ['null'],
    ['{"model":[]}'],
    ['{"model":{"modelName":{}}}'],
  ])('refuses %j', (text) => {
    expect(() => parseManifest(text)).toThrow(invalid('Failed to parse signature.json.'));
  });

  it('refuses a model that is null', () => {
    expect(() => parseManifest('{"model":null}')).toThrow(invalid('Missing Model entry in manifest file.'));
  });

  it('reads no key from the prototype', () => {
    const { model } = parseManifest('{"model":{"__proto__":{"modelName":"evil"}}}');
    expect(model).toEqual({});
    expect(model.modelName).toBeUndefined();
  });
});

describe('formatManifest', () => {
  it("writes the archiver's layout", () => {
    const text = formatManifest({
      archiverVersion: '0.12.0',
      runtime: 'python',
      model: { modelVersion: '2.1', handler: 'h.py', serializedFile: 'model.onnx', modelName: 'é' },
      createdOn: '22/11/2026 16:23:54',
    });
    expect(text).toBe(
      '{\n  "createdOn": "22/11/2026 16:23:54",\n  "runtime": "python",\n  "model": {\n    "modelName": "\\u00e9",\n' +
        '    "serializedFile": "model.onnx",\n    "handler": "h.py",\n    "modelVersion": "2.1"\n  },\n' +
        '  "archiverVersion": "0.12.0"\n}',
    );
    expect(parseManifest(text).model.modelName).toBe('é');
  });

  it('writes the local time of packing', () => {
    expect(formatCreatedOn(new Date(2026, 0, 2, 3, 4, 5))).toBe('02/01/2026 03:04:05');
  });
});

describe('validateManifest', () => {
  const archive = (text: string) => ({ manifest: parseManifest(text), defaultName: 'file_name' });

  it('lets the request win over the manifest', () => {
    const request = { modelName: 'r', runtime: 'python3', handler: 'rh' };
    const { name, version, manifest } = validateManifest(
      archive('{"runtime":"LSP","model":{"modelName":"m","modelVersion":"2","handler":"h"}}'),
      request,
    );
    expect([name, version]).toEqual(['r', '2']);
    expect(manifest).toEqual({
      runtime: 'python3',
      model: { modelName: 'r', modelVersion: '2', handler: 'rh' },
    });
  });

  it('fills in the version, the default handler and the envelope', () => {
    const { manifest } = validateManifest(archive('{"model":{"modelName":"m","envelope":"own"}}'), {
      modelName: '',
      defaultHandler: 'd',
      envelope: 'kserve',
    });
    expect(manifest.model).toEqual({ modelName: 'm', modelVersion: '1.0', handler: 'd', envelope: 'kserve' });
  });

  it('drops the envelope of the manifest when none is configured', () => {
    expect(
      validateManifest(archive('{"model":{"modelName":"m","envelope":"own"}}')).manifest.model,
    ).not.toHaveProperty('envelope');
  });

  it('names a nameless archive after its file at start-up only', () => {
    const nameless = { manifest: EMPTY_MANIFEST, defaultName: 'file_name' };
    expect(validateManifest(nameless, { atStartup: true }).name).toBe('file_name');
    expect(() => validateManifest(nameless)).toThrow(invalid('Model name is not defined.'));
  });

  it('refuses an unknown runtime, the name first', () => {
    expect(() => validateManifest(archive('{"runtime":"x","model":{"modelName":"m"}}'))).toThrow(
      invalid('Runtime is not defined or invalid.'),
    );
    expect(() => validateManifest(archive('{"runtime":"x"}'))).toThrow(invalid('Model name is not defined.'));
  });
});

describe('defaultModelName', () => {
  it.each([
    ['foo-1.mar', 'foo_1'],
    ['https://host/a/b.c.mar', 'b_c'],
    ['_x.model', '_x'],
    ['plain', 'plain'],
    ['echo.tar.gz', 'echo_tar_gz'],
  ])('makes %s the model %s', (url, name) => {
    expect(defaultModelName(url)).toBe(name);
  });
});
