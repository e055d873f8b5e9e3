/** A process that holds content of a cache: `node cache-holder.ts <dir> <key> [release|hold|die-building]`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContentCache } from '#libs/archive';

const [dir = '', key = '', then = 'hold'] = process.argv.slice(2);
const cache = new ContentCache(dir);
const tell = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);

const held = await cache.acquire(key, async (staging) => {
  await writeFile(join(staging, 'part'), String(process.pid));
  tell({ building: process.pid });
  if (then === 'die-building') process.kill(process.pid, 'SIGKILL');
  await writeFile(join(staging, 'whole'), String(process.pid));
});
tell({ held: held.dir });
if (then === 'release') await held.release();
else process.stdin.once('data', () => void held.release().then(() => process.exit(0)));
