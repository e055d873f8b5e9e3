import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { pythonVenv } from '../support/python-venv.js';
import { isAlive } from './python-workers.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`The end of a host is not tried: ${missing}.`);
// A host that is killed cannot remove what it made there.
const temporary = mkdtempSync(join(tmpdir(), 'marline-test-'));
afterAll(() => rmSync(temporary, { recursive: true }));

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The kernel takes the worker along on Linux; elsewhere a handler that never returns is not ended by SIGKILL.
describe.skipIf(python === undefined || process.platform !== 'linux')('a worker whose handler hangs', () => {
  it.each(['SIGKILL', 'SIGTERM'] as const)('does not outlive its host that ends by %s', async (signal) => {
    const host = spawn(
      process.execPath,
      [
        '--conditions=marline-source',
        `--import=${at('../support/ts-register.mjs')}`,
        at('hanging-host.ts'),
        python ?? '',
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TMPDIR: temporary } },
    );
    const [output] = (await once(host.stdout, 'data')) as [Buffer];
    const pid = Number(output.toString());
    expect(isAlive(pid)).toBe(true);
    host.kill(signal);
    await once(host, 'exit');
    while (isAlive(pid)) await sleep(10);
  });
});
