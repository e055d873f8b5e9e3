import { parentPort } from 'node:worker_threads';
import { encodeError } from '#libs/common';
import { BaseHandler, HandlerRunner, loadHandlerModule } from '#libs/handler/worker';
import { DoublingModel, RecordingSink, answerOf, demoSetup, jsonItem } from './fakes.js';

interface Order {
  readonly url: string;
  readonly exportName?: string;
}

/** Loads handlers as a worker of the server does, runs two requests through each and tells what became of them. */
parentPort?.on('message', (order: Order | 'end') => {
  if (order === 'end') parentPort?.close();
  else void load(order).then((loaded) => parentPort?.postMessage(loaded));
});

async function load({ url, exportName }: Order): Promise<unknown> {
  try {
    const handler = await loadHandlerModule(new URL(url), exportName);
    const runner = new HandlerRunner(handler, {
      setup: demoSetup(),
      binding: new DoublingModel(),
      output: 'bytes',
    });
    await runner.initialize();
    const sink = new RecordingSink();
    await runner.run([jsonItem('a', 10), jsonItem('b', 'text')], sink);
    return {
      name: handler.constructor.name,
      isOurs: handler instanceof BaseHandler,
      answers: Object.fromEntries([...sink.results].map(([id, result]) => [id, answerOf(result)])),
      errors: Object.fromEntries([...sink.errors].map(([id, error]) => [id, [error.status, error.message]])),
    };
  } catch (error) {
    return { error: encodeError(error) };
  }
}
