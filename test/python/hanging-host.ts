import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { ScriptWorkers } from './python-workers.js';

/** A process that has a worker with a handler that never returns, and says which process that is. */
const [python = ''] = process.argv.slice(2);
const worker = await new ScriptWorkers(python).start();
void worker.run([textItem('hang')], new CollectingSink());
process.stdout.write(`${worker.pid}\n`);
setInterval(() => {}, 1000);
