import { describe, expect, it } from 'vitest';
import { ARCHIVER_RECORDS, replayArchiving } from './archiver-replay.js';

describe('marline archive, against torch-model-archiver', () => {
  it('is compared with every recorded run of the model archiver', () => {
    expect(ARCHIVER_RECORDS).toHaveLength(89);
    expect(new Set(ARCHIVER_RECORDS.map(({ name }) => name)).size).toBe(ARCHIVER_RECORDS.length);
  });

  it.each(
    ARCHIVER_RECORDS.filter(({ name }) => name !== 'help').map((record) => [record.name, record] as const),
  )('%s', async (_, record) => {
    const { ours, theirs } = await replayArchiving(record);
    expect(ours).toEqual(theirs);
  });

  it('help names every option, and shows an example', async () => {
    const help = ARCHIVER_RECORDS.find(({ name }) => name === 'help')!;
    const { ours, output } = await replayArchiving(help);
    expect(ours.exitCode).toBe(0);
    const options = help.response.stdout
      .match(/^ {2}-[^ ]+(?:.*, )?(?:--[\w-]+)?/gm)!
      .flatMap((line) => line.match(/--[\w-]+/g) ?? []);
    expect(options.length).toBeGreaterThan(10);
    for (const option of new Set(options)) expect(output).toContain(option);
    expect(output).toMatch(/Example:\n {2}\$ marline archive --model-name/);
  });
});
