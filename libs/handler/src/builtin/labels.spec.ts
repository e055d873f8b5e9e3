import { describe, expect, it } from 'vitest';
import { labelAt, parseLabels, readLabels } from './labels.js';

describe('labels', () => {
  it.each([
    ['names', '{"0":"tench","1":"goldfish"}'],
    ['ids with names', '{"0":["n01440764","tench"],"1":["n01443537","goldfish"]}'],
    ['object type names', '{"object_type_names":["tench","goldfish"]}'],
  ])('are read from %s', (_form, text) => {
    const labels = parseLabels(text);
    expect([labelAt(labels, 0), labelAt(labels, 1)]).toEqual(['tench', 'goldfish']);
  });

  it('are class numbers where there is no name', async () => {
    expect(labelAt(parseLabels('{"0":"tench"}'), 7)).toBe('7');
    expect(labelAt(await readLabels('/no/such/folder'), 7)).toBe('7');
  });

  it.each([
    ['broken JSON', '{', 'is not valid JSON'],
    ['a list', '["tench"]', 'holds no JSON object'],
    ['a key that is no number', '{"tench":"0"}', 'the key "tench" is no class number'],
    ['a number for a name', '{"0":1}', 'class 0 is no text and no [id, name]'],
    ['an empty list for a name', '{"0":[]}', 'class 0 is no text'],
    ['a text for the list of names', '{"object_type_names":"tench"}', '"object_type_names" is no array'],
  ])('refuse %s', (_what, text, message) => {
    expect(() => parseLabels(text)).toThrow(
      expect.objectContaining({
        code: 'HANDLER_INVALID',
        message: expect.stringContaining(message) as string,
      }),
    );
  });
});
