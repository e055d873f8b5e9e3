import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** What the figures were measured on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly commit: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Before the run, 1 minute. */
  readonly load: number;
}

const PACKAGES = { 'ONNX Runtime': 'onnxruntime-node', NestJS: '@nestjs/core', Fastify: 'fastify' };

/** Describes this machine and what is installed. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    commit: firstLine('git', ['rev-parse', '--short', 'HEAD']),
    versions: {
      'Node.js': process.versions.node,
      ...Object.fromEntries(Object.entries(PACKAGES).map(([name, folder]) => [name, versionOf(folder)])),
      wrk: /debian\/[\w.-]+|\d+\.\d+\S*/.exec(firstLine('wrk', ['--version']))?.[0] ?? 'not installed',
    },
    load: loadavg()[0] ?? Number.NaN,
  };
}

function versionOf(folder: string): string {
  const manifest = new URL(`../../../node_modules/${folder}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function firstLine(program: string, argv: readonly string[]): string {
  const { stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  return `${stdout ?? ''}${stderr ?? ''}`.split('\n', 1)[0] ?? '';
}
