import { describe, expect, it } from 'vitest';
import { VERSION } from '#libs/common';
import { run } from '../../src/program.js';
import { RecordedTerminal } from './terminal.js';

async function marline(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const terminal = new RecordedTerminal();
  const code = await run(args, terminal);
  return { code, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

describe('marline', () => {
  it.each(['--version', '-v'])('prints its version for %s', async (flag) => {
    expect(await marline(flag)).toEqual({ code: 0, stdout: `marline ${VERSION}\n`, stderr: '' });
  });

  it.each([
    [[], 'Exit codes: 0 done, 1 failed, 2 the command line is wrong.'],
    [['serve'], '$ marline serve --model-store models --models all'],
    [['predict'], '$ marline predict coffee.jpg --model efficientnet'],
    [['archive'], '$ marline archive --model-name mnist'],
    [['handler'], 'write the skeleton of a handler'],
    [['doctor'], '$ marline doctor --python'],
    [['handler', 'new'], '$ marline handler new fraud'],
  ])('explains %j with --help', async (command, example) => {
    const { code, stdout, stderr } = await marline(...command, '--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(example);
  });

  it.each([
    [['sreve'], 'Did you mean serve?'],
    [['serve', '--model-stroe', 'x'], 'Did you mean --model-store?'],
    [['serve', '--models'], "option '--models <model...>' argument missing"],
    [['handler'], 'Usage: marline handler'],
    [['handler', 'nwe', 'x'], 'Did you mean new?'],
    [['predict', '--model', 'm'], "missing required argument 'file'"],
  ])('exits 2 for %j', async (args, message) => {
    const { code, stdout, stderr } = await marline(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  it.each([
    [['serve', '--model-store', 'nodir'], '--model-store directory not found: nodir'],
    [['serve', '--model-store', 'test', '--ts-config', 'nofile'], '--ts-config file not found: nofile'],
    [['serve', '--ncs'], 'Missing mandatory parameter --model-store'],
  ])('exits 1 for %j', async (args, message) => {
    const { code, stderr } = await marline(...args);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });

  it.each([
    [['archive', '--model-name', 'm'], 'the following arguments are required: --handler, -v/--version', 2],
    [
      [
        'archive',
        '--model-name',
        'm',
        '-v',
        '1.0',
        '--handler',
        'gone.mjs',
        '--serialized-file',
        'gone.onnx',
      ],
      'gone',
      1,
    ],
  ])('hands %j to the archiver', async (args, message, expected) => {
    const { code, stderr } = await marline(...args);
    expect(code).toBe(expected);
    expect(stderr).toContain(message);
  });

  it('takes the switches of scripts made for TorchServe', async () => {
    const switches = [
      '--start',
      '--foreground',
      '--ncs',
      '--no-config-snapshots',
      '--dt',
      '--disable-token-auth',
    ];
    const { code, stderr } = await marline('serve', ...switches, '--model-store', 'nodir');
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'error: --model-store directory not found: nodir\n',
    });
  });
});
