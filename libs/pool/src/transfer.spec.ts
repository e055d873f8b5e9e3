import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import type { BatchItem, TensorData } from '#libs/common';
import { packItem, packResult, post } from './transfer.js';

function rawItem(value: Uint8Array): BatchItem {
  return {
    id: 'a',
    input: { kind: 'raw', headers: '', parameters: [{ name: 'body', contentType: '', value }] },
  };
}

function valueOf(item: BatchItem): Uint8Array | undefined {
  return item.input.kind === 'raw' ? item.input.parameters[0]?.value : undefined;
}

function tensorItem(data: TensorData): BatchItem {
  return {
    id: 'a',
    input: { kind: 'tensors', tensors: { x: { dtype: 'float32', shape: [data.length], data } } },
  };
}

describe('packing', () => {
  it('moves a view that owns its buffer', () => {
    const transfer = new Set<ArrayBuffer>();
    const value = new Uint8Array(10_000);
    expect(valueOf(packItem(rawItem(value), transfer))).toBe(value);
    expect([...transfer]).toEqual([value.buffer]);
  });

  it("cuts a small body out of Node's pool, so that its neighbours stay behind", () => {
    const transfer = new Set<ArrayBuffer>();
    const packed = valueOf(packItem(rawItem(Buffer.from('small')), transfer));
    expect(packed?.buffer.byteLength).toBe(5);
    expect(Buffer.from(packed ?? []).toString()).toBe('small');
    expect([...transfer]).toEqual([packed?.buffer]);
  });

  it('copies views into a larger buffer and shared memory', () => {
    const transfer = new Set<ArrayBuffer>();
    const whole = new Float32Array([1, 2, 3, 4]);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    packItem(tensorItem(whole.subarray(1, 3)), transfer);
    packItem(tensorItem(shared), transfer);
    expect([...transfer].map((buffer) => buffer.byteLength)).toEqual([8, 8]);
    expect(transfer.has(whole.buffer)).toBe(false);
  });

  it('leaves strings and values as they are and moves bytes and tensors of results', () => {
    const transfer = new Set<ArrayBuffer>();
    packItem(tensorItem(['a', 'b']), transfer);
    const head = { status: 200, reason: '', headers: [] };
    packResult({ ...head, output: { kind: 'value', value: { a: 1 } } }, transfer);
    expect(transfer.size).toBe(0);
    const bytes = new Uint8Array(3);
    packResult({ ...head, output: { kind: 'bytes', bytes, encoding: 'binary' } }, transfer);
    const data = new Float32Array(2);
    packResult(
      { ...head, output: { kind: 'tensors', tensors: { y: { dtype: 'float32', shape: [2], data } } } },
      transfer,
    );
    expect([...transfer]).toEqual([bytes.buffer, data.buffer]);
  });

  it('moves a buffer that several items share once', () => {
    const transfer = new Set<ArrayBuffer>();
    const data = new Float32Array(2);
    packItem(tensorItem(data), transfer);
    packItem(tensorItem(data), transfer);
    expect(transfer.size).toBe(1);
  });

  it('tells a buffer that was transferred before, and does not take an empty view for one', () => {
    const gone = new Uint8Array(8);
    structuredClone(gone, { transfer: [gone.buffer] });
    expect(() => packItem(rawItem(gone), new Set())).toThrow(TypeError);
    const empty = new Uint8Array(0);
    const transfer = new Set<ArrayBuffer>();
    packItem(rawItem(empty), transfer);
    expect(transfer.has(empty.buffer)).toBe(false);
  });
});

describe('posting', () => {
  it('copies what cannot be moved', () => {
    const { port1, port2 } = new MessageChannel();
    const { buffer } = new WebAssembly.Memory({ initial: 1 });
    post(port1, { view: new Uint8Array(buffer) }, new Set([buffer]));
    const received: { message: { view: Uint8Array } } | undefined = receiveMessageOnPort(port2);
    expect(received?.message.view.byteLength).toBe(buffer.byteLength);
    port1.close();
  });

  it('moves nothing when the message cannot be cloned', () => {
    const { port1 } = new MessageChannel();
    const bytes = new Uint8Array(4);
    expect(() => post(port1, { bytes, act: () => 0 }, new Set([bytes.buffer]))).toThrow(
      /could not be cloned/,
    );
    expect(bytes.byteLength).toBe(4);
    port1.close();
  });
});
