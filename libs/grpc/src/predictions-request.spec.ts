import { describe, expect, it } from 'vitest';
import { sequenceInputOf } from './predictions-request.js';

const NAMES = { id: 'my-id', start: 'my-start', end: 'my-end' };
const request = (input: Readonly<Record<string, string>>, sequence_id = 's') => ({
  model_name: 'm',
  model_version: '',
  sequence_id,
  input: Object.fromEntries(Object.entries(input).map(([name, text]) => [name, Buffer.from(text)])),
});

describe('a request of a sequence over gRPC', () => {
  it('tells the handler its sequence by the configured name', () => {
    expect(sequenceInputOf(request({ data: '1' }), NAMES)).toMatchObject({
      headers: 'my-id\ns',
      parameters: [{ name: 'data', contentType: '' }],
    });
  });

  it.each([
    ['true', true],
    ['TRUE', true],
    ['false', false],
    ['', false],
  ])('whose end is marked %j is the last: %s', (mark, isLast) => {
    const { headers } = sequenceInputOf(request({ data: '1', 'my-end': mark }), NAMES);
    expect(headers).toBe(isLast ? 'my-id\ns\nmy-end\ntrue' : 'my-id\ns');
  });

  it('knows no other name for the end', () => {
    expect(sequenceInputOf(request({ ts_request_sequence_end: 'true' }), NAMES).headers).toBe('my-id\ns');
  });

  it('cannot bring headers along in the id', () => {
    expect(sequenceInputOf(request({}, 's\nmy-end\ntrue'), NAMES).headers).toBe('my-id\ns my-end true');
  });
});
