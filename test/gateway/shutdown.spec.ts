import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openGateway } from './open-gateway.js';

describe('a gateway that is told to stop', () => {
  it('answers what it accepted, then ends its workers', async () => {
    const gateway = await openGateway({ models: ['slow'] });
    const accepted = Array.from({ length: 6 }, () => gateway.ask('/ml/predictions/slow', { body: '100' }));
    while (gateway.registry.get('slow').queue().pendingRequests < 5) await setTimeout(5);

    await gateway.close();
    const answers = await Promise.all(accepted);
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200));
    expect(gateway.registry.all().flatMap((runtime) => runtime.workers())).toEqual([]);
  });

  it('is not ready and takes nothing new while it answers what it accepted', async () => {
    const gateway = await openGateway({ models: ['slow'] });
    const accepted = gateway.ask('/ml/predictions/slow', { body: '1500' });
    while (
      !gateway.registry
        .get('slow')
        .workers()
        .some(({ state }) => state === 'busy')
    )
      await setTimeout(5);

    const closed = gateway.close();
    while (!gateway.registry.shuttingDown) await setTimeout(1);
    const ready = await gateway.ask('/ml/health/ready');
    expect(ready.status).toBe(503);
    expect(ready.json()).toMatchObject({ error: { server: { message: 'The server is shutting down.' } } });
    expect((await gateway.ask('/ml/health/live')).status).toBe(200);
    expect((await gateway.ask('/orders', { json: { customer: 'regular', amount: 1 } })).json()).toMatchObject(
      {
        unchecked: 'SHUTTING_DOWN',
      },
    );
    expect((await gateway.ask('/ml/predictions/slow', { body: '0' })).status).toBe(503);

    expect((await accepted).status).toBe(200);
    await closed;
  });
});
