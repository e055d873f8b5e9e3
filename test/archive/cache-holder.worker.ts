/** A process that holds content of a cache: `node cache-holder.worker.mjs <dir> <key> [hold|die-building|churn]`. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentCache } from '#libs/archive';

const [dir = '', key = '', then = 'hold'] = process.argv.slice(2);
const cache = new ContentCache(dir);
const tell = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function churn(rounds: number): Promise<void> {
  const lost: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const held = await cache.acquire(`${key}-${round % 2}`, (staging) =>
      writeFile(join(staging, 'whole'), 'whole'),
    );
    const found = await readFile(join(held.dir, 'whole'), 'utf8').catch((error: unknown) => String(error));
    if (found !== 'whole') lost.push(found);
    await held.release();
  }
  tell({ held: 'nothing', lost });
}

async function hold(): Promise<void> {
  const held = await cache.acquire(key, async (staging) => {
    await writeFile(join(staging, 'part'), String(process.pid));
    if (then === 'die-building') process.kill(process.pid, 'SIGKILL');
    await writeFile(join(staging, 'whole'), String(process.pid));
  });
  tell({ held: held.dir });
  process.stdin.once('data', () => void held.release().then(() => process.exit(0)));
}

await (then === 'churn' ? churn(400) : hold());
