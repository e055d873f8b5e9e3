// Packs the sample models of test/fixtures with `marline archive`: node pack-sample-models.mjs FOLDER
// An archive that is newer than all it is made of is left alone.
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const folder = resolve(process.argv[2] ?? '.marline/model-store');

const ageOf = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const samples = JSON.parse(readFileSync(join(fixtures, 'sample-models.json'), 'utf8'));
const outdated = Object.entries(samples).filter(([name, files]) => {
  const newest = Math.max(...Object.values(files).map((file) => ageOf(join(fixtures, file))));
  return ageOf(join(folder, `${name}.mar`)) <= newest;
});

if (outdated.length > 0) {
  const { run } = await import('../../dist/src/program.js');
  mkdirSync(folder, { recursive: true });
  process.chdir(fixtures);
  for (const [name, { serializedFile, handler, extraFiles }] of outdated) {
    const extra = extraFiles === undefined ? [] : ['--extra-files', extraFiles];
    const model = [
      '--model-name',
      name,
      '--version',
      '1.0',
      '--serialized-file',
      serializedFile,
      '--handler',
      handler,
    ];
    process.exitCode = await run(['archive', ...model, ...extra, '--export-path', folder, '--force']);
    if (process.exitCode !== 0) break;
    process.stdout.write(`packed ${name}.mar\n`);
  }
}
