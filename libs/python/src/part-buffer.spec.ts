import { expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { CollectingSink, textResult } from '../../../test/support/collecting-sink.js';
import { PartBuffer } from './part-buffer.js';

/** A sink whose readers take a part when they are told to. */
function setUp(mostBytes = 1000) {
  const sink = new CollectingSink();
  const takers: (() => void)[] = [];
  sink.room = () => new Promise((resolve) => takers.push(resolve));
  const take = async () => {
    takers.shift()?.();
    await turn();
  };
  return { sink, take, buffer: new PartBuffer(sink, mostBytes) };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const died = new MarlineError('WORKER_DIED');

it('takes parts at once, and gives the next one when its reader has taken the last', async () => {
  const { sink, take, buffer } = setUp();
  await buffer.chunk('a', textResult('1'));
  await buffer.chunk('a', textResult('2'));
  buffer.result('a', textResult('end'));
  expect([sink.chunks.map(({ text }) => text), sink.answer('a')]).toEqual([['1'], undefined]);
  await take();
  expect([sink.chunks.map(({ text }) => text), sink.answer('a')]).toEqual([['1', '2'], undefined]);
  await take();
  expect(sink.answer('a')).toBe('end');
});

it('lets no answer wait for another', async () => {
  const { sink, buffer } = setUp();
  await buffer.chunk('a', textResult('1'));
  await buffer.chunk('b', textResult('2'));
  buffer.result('c', textResult('3'));
  expect([sink.chunks.map(({ text }) => text), sink.answer('c')]).toEqual([['1', '2'], '3']);
});

it('ends an answer whose reader falls too far behind, once, and only that one', async () => {
  const { sink, take, buffer } = setUp();
  await buffer.chunk('b', textResult('1'));
  for (let part = 0; part < 20; part += 1) await buffer.chunk('a', textResult('x'.repeat(100)));
  expect(sink.errors.get('a')).toMatchObject({ code: 'OUT_OF_RESOURCES' });
  buffer.result('a', textResult('end'));
  buffer.error('a', died);
  await take();
  buffer.result('b', textResult('end'));
  await turn();
  expect([sink.answer('a'), sink.answer('b')]).toEqual(['OUT_OF_RESOURCES', 'end']);
  expect(sink.chunks.filter(({ id }) => id === 'a')).toHaveLength(1);
});

it('counts parts without a body, too', async () => {
  const { sink, buffer } = setUp(10_000);
  for (let part = 0; part < 100; part += 1) await buffer.chunk('a', textResult(''));
  expect(sink.answer('a')).toBe('OUT_OF_RESOURCES');
});

it('drops what waits when the answer fails', async () => {
  const { sink, take, buffer } = setUp();
  await buffer.chunk('a', textResult('1'));
  await buffer.chunk('a', textResult('2'));
  buffer.error('a', died);
  await take();
  expect([sink.chunks.map(({ text }) => text), sink.answer('a')]).toEqual([['1'], 'WORKER_DIED']);
});

it('brings an answer to its end when its reader fails', async () => {
  const { sink, buffer } = setUp();
  sink.room = () => Promise.reject(new Error('connection reset'));
  await buffer.chunk('a', textResult('1'));
  buffer.result('a', textResult('end'));
  await turn();
  expect(sink.answer('a')).toBe('end');
});
