import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { ModelStore, packArchive, type PackOptions } from '#libs/archive';
import { run } from '../../src/program.js';
import { RecordedTerminal } from './terminal.js';

/** An eager model of four numbers in and three out, as a file of an archive. */
export const LINEAR = `class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(4, 3)

    def forward(self, rows):
        return self.layer(rows)
`;

/** A workplace for `marline convert`, new for each test; what a conversion leaves behind fails the test. */
export class Conversion {
  folder = '';
  /** Where archives are converted from. */
  store = '';
  /** Where they are converted to. */
  out = '';
  #scratch = '';

  constructor() {
    beforeEach(() => {
      this.folder = mkdtempSync(join(tmpdir(), 'marline-convert-test-'));
      this.store = join(this.folder, 'store');
      this.out = join(this.folder, 'out');
      this.#scratch = join(this.folder, 'scratch');
      for (const each of [this.store, this.out, this.#scratch]) mkdirSync(each);
      vi.stubEnv('TMPDIR', this.#scratch);
    });
    afterEach(() => {
      vi.unstubAllEnvs();
      const left = readdirSync(this.#scratch).filter((name) => name.startsWith('marline-convert-'));
      rmSync(this.folder, { recursive: true });
      expect(left).toEqual([]);
    });
  }

  async run(...args: string[]) {
    const terminal = new RecordedTerminal();
    const code = await run(['convert', ...args, '--export-path', this.out], terminal);
    return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
  }

  /** Packs `net.mar` with an eager model without weights; `source` is its file, `extra` are names and texts of others. */
  async pack(
    source: string,
    {
      extra = {},
      ...options
    }: Partial<PackOptions> & { readonly extra?: Readonly<Record<string, string>> } = {},
  ): Promise<string> {
    const write = (name: string, text: string) => {
      writeFileSync(join(this.folder, name), text);
      return join(this.folder, name);
    };
    const modelFile = write('net.py', `import torch\nfrom torch import nn\n\n${source}`);
    const extraFiles = Object.entries(extra).map(([name, text]) => write(name, text));
    return packArchive({
      modelName: 'net',
      version: '2.1',
      handler: 'base_handler',
      modelFile,
      extraFiles,
      exportPath: this.store,
      force: true,
      ...options,
    });
  }

  /** What was written. */
  async opened(file = 'net.mar') {
    const store = new ModelStore({ modelStore: this.out, cacheDir: join(this.#scratch, 'cache') });
    const { manifest, config, dir } = await store.open(file);
    return { manifest, config, dir, files: readdirSync(dir).toSorted() };
  }
}
