import { describe, expect, it } from 'vitest';
import type { RawInput, TensorInput } from '#libs/common';
import { sequenceOf } from './sequence-headers.js';

const NAMES = {
  id: 'ts_request_sequence_id',
  start: 'ts_request_sequence_start',
  end: 'ts_request_sequence_end',
};
const raw = (headers: string): RawInput => ({ kind: 'raw', headers, parameters: [] });

/** What becomes of a request with these headers. */
const of = (headers: string, step?: Parameters<typeof sequenceOf>[1]) =>
  sequenceOf(raw(headers), step, NAMES);
const headersOf = ({ input }: ReturnType<typeof sequenceOf>) =>
  input.kind === 'raw' ? input.headers : undefined;

describe('the sequence of a request', () => {
  it('is the one that its last header names, in exactly this letter case', () => {
    expect(
      of('ts_request_sequence_id\na\nts_request_sequence_id\nb\nTs_Request_Sequence_Id\nc'),
    ).toMatchObject({
      sequence: 'b',
      isLast: false,
    });
  });

  it('is not one that stands in the value of another header', () => {
    expect(of('x\nts_request_sequence_id\ny\na').sequence).toMatch(/^ts-seq-/);
  });

  it('is a new one, which the handler sees as started, when none is named', () => {
    const made = of('a\nb');
    expect(headersOf(made)).toBe(
      `a\nb\nts_request_sequence_id\n${made.sequence}\nts_request_sequence_start\ntrue`,
    );
    expect(of('').sequence).not.toBe(made.sequence);
    const tensors: TensorInput = { kind: 'tensors', tensors: {} };
    expect(sequenceOf(tensors, undefined, NAMES)).toMatchObject({ isLast: false, input: tensors });
  });

  it('is over with a request that says so', () => {
    for (const [value, isLast] of [
      ['true', true],
      ['True', true],
      ['false', false],
    ] as const)
      expect(of(`ts_request_sequence_id\na\nts_request_sequence_end\n${value}`).isLast).toBe(isLast);
  });

  it('is what the application says, whatever the headers', () => {
    const told = of('ts_request_sequence_id\na', { id: 'b', start: true, end: true });
    expect(told).toMatchObject({ sequence: 'b', isLast: true });
    expect(headersOf(told)).toBe(
      'ts_request_sequence_id\na\nts_request_sequence_id\nb\nts_request_sequence_start\ntrue\nts_request_sequence_end\ntrue',
    );
    expect(headersOf(of('', { id: 'b' }))).toBe('ts_request_sequence_id\nb');
  });

  it('has an id that can be a header', () => {
    for (const id of ['', 'a\nb', 'a\r', '\0', '\x7f', 'x'.repeat(1025), 7 as unknown as string])
      expect(() => of('', { id })).toThrow('1 to 1024 characters');
    expect(() => of(`ts_request_sequence_id\n${'x'.repeat(1025)}`)).toThrow('1 to 1024 characters');
    expect(of('', { id: 'x'.repeat(1024) }).sequence).toHaveLength(1024);
  });
});
