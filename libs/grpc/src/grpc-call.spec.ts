import { EventEmitter, getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { boundsOf, goneSignal } from './grpc-call.js';

class FakeCall extends EventEmitter {
  cancelled = false;
  readonly metadata = undefined as never;

  constructor(private readonly deadline: Date | number = Infinity) {
    super();
  }

  getDeadline(): Date | number {
    return this.deadline;
  }

  getPath(): string {
    return '/package.Service/Method';
  }
}

describe('the bounds of a call', () => {
  it("are its client's deadline, and no more than the model's own", () => {
    expect(boundsOf(new FakeCall(), 0).deadlineMs).toBeUndefined();
    expect(boundsOf(new FakeCall(), 70).deadlineMs).toBe(70);
    expect(boundsOf(new FakeCall(new Date(Date.now() + 60_000)), 70).deadlineMs).toBe(70);
    expect(boundsOf(new FakeCall(Date.now() + 60_000), 0).deadlineMs).toBeGreaterThan(50_000);
  });

  it('refuse what is too late already', () => {
    expect(() => boundsOf(new FakeCall(Date.now() - 1), 0)).toThrow('deadline of 0 ms');
  });
});

describe('the signal of a call', () => {
  it('is one for all requests of a stream', () => {
    const call = new FakeCall();
    const [first, ...others] = Array.from({ length: 20 }, () => goneSignal(call));
    expect(others.every((signal) => signal === first)).toBe(true);
    expect(getEventListeners(call, 'cancelled')).toHaveLength(1);
    call.emit('cancelled');
    expect(first?.aborted).toBe(true);
  });

  it('is aborted when the client left before', () => {
    expect(goneSignal(Object.assign(new FakeCall(), { cancelled: true })).aborted).toBe(true);
  });
});
