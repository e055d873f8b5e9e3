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
});
