import { EventEmitter } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { ClientGone } from './client-gone.js';

const response = (state: { destroyed?: boolean; writableFinished?: boolean } = {}) =>
  Object.assign(new EventEmitter(), { destroyed: false, writableFinished: false, ...state });

describe('ClientGone', () => {
  it('tells every listener when the connection ends before the answer is out', () => {
    const connection = response();
    const gone = new ClientGone(connection);
    const [first, second] = [vi.fn(), vi.fn()];
    gone.addEventListener('abort', first);
    gone.addEventListener('abort', second);
    expect(gone.aborted).toBe(false);
    connection.emit('close');
    connection.emit('close');
    expect(gone.aborted).toBe(true);
    expect(first).toHaveBeenCalledOnce();
    expect(second).toHaveBeenCalledOnce();
  });

  it('does not tell listeners that were removed, also by one another', () => {
    const connection = response();
    const gone = new ClientGone(connection);
    const [kept, removed] = [vi.fn(), vi.fn()];
    gone.addEventListener('abort', removed);
    gone.addEventListener('abort', () => gone.removeEventListener('abort', kept));
    gone.addEventListener('abort', kept);
    gone.removeEventListener('abort', removed);
    gone.removeEventListener('abort', removed);
    connection.emit('close');
    expect(removed).not.toHaveBeenCalled();
    expect(kept).toHaveBeenCalledOnce();
  });

  it('is silent when the answer went out', () => {
    const connection = response();
    const gone = new ClientGone(connection);
    const listener = vi.fn();
    gone.addEventListener('abort', listener);
    connection.writableFinished = true;
    connection.emit('close');
    expect(gone.aborted).toBe(false);
    expect(listener).not.toHaveBeenCalled();
  });

  it('is aborted from the start when the client left already', () => {
    expect(new ClientGone(response({ destroyed: true })).aborted).toBe(true);
  });
});
