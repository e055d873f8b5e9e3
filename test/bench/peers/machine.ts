import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** What the figures were measured on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly fastify: string;
  readonly wrk: string;
  readonly java: string;
  readonly commit: string;
  /** Before the run, 1 minute. */
  readonly load: number;
}

/**
 * Describes this machine.
 * @throws Error with the package to install when wrk or Java is missing
 */
export function describeMachine(): Machine {
  const java = firstLine('java', ['-version'], 'openjdk-17-jre-headless, for TorchServe');
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.versions.node,
    onnxruntime: versionOf('onnxruntime-node'),
    fastify: versionOf('fastify'),
    wrk: /debian\/[\w.-]+|\d+\.\d+\S*/.exec(firstLine('wrk', ['--version'], 'wrk'))?.[0] ?? 'unknown',
    java: /"(.+?)"/.exec(java)?.[1] ?? 'unknown',
    commit: firstLine('git', ['describe', '--always', '--dirty'], 'git'),
    load: loadavg()[0] ?? Number.NaN,
  };
}

function versionOf(name: string): string {
  const manifest = new URL(`../../../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function firstLine(program: string, argv: readonly string[], debian: string): string {
  const { error, stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  if (error) throw new Error(`${program} is missing. Install it: apt-get install ${debian}`);
  return `${stdout}${stderr}`.split('\n', 1)[0] ?? '';
}
