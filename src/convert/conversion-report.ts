import type { TensorMetadata } from '#libs/common';
import type { Conversion } from './convert-archive.js';

/** What became of an archive, line by line. */
export function conversionReport({ model, handler, exported, verified, files }: Conversion): string[] {
  const { config, manifest } = model;
  const kind = model.modelFile === undefined ? 'TorchScript' : 'eager';
  const rows: (readonly [string, string])[] = [
    ['model', `${kind} ${exported.model}, exported by PyTorch ${exported.torch} (${exported.exporter})`],
    ['inputs', listOf(verified.inputs)],
    ['outputs', listOf(verified.outputs)],
    ['compared', comparedText(verified)],
    ['handler', `${handler.handler} (${handler.note})`],
    ['kept', files.kept.join(', ') || 'no other files'],
    ['left out', files.dropped.join(', ') || 'nothing'],
  ];
  if (manifest.configFile !== undefined) rows.push(['settings', configText(manifest.configFile, config)]);
  if (exported.batch === 'fixed')
    rows.push([
      'note',
      `The batch axis is fixed, so requests do not share runs: ${exported.note ?? 'unknown why'}.`,
    ]);
  return rows.map(([title, text]) => `${title.padEnd(9)} ${text}`);
}

function comparedText({ batchSizes, difference }: Conversion['verified']): string {
  const most =
    difference === 0 ? 'no difference' : `at most ${difference.toPrecision(2)} of the largest value apart`;
  return `${batchSizes.length} runs with batches of ${batchSizes.join(', ')}: ${most}`;
}

function configText(name: string, { text, dropped }: Conversion['model']['config']): string {
  const without = dropped.length === 0 ? '' : ` without ${dropped.join(', ')}, which only Python reads`;
  return text === undefined ? `${name} is left out: nothing of it is for this engine` : `${name}${without}`;
}

function listOf(tensors: readonly TensorMetadata[]): string {
  return tensors.map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(',')}]`).join(', ');
}
