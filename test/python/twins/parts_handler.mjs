import { setTimeout } from 'node:timers/promises';

let known = new Map();

/** What parts_handler.py does, in JavaScript. */
export async function handle(requests, context) {
  const ids = context.requestIds;
  known = new Map(ids.map((id, index) => [id, known.get(id) ?? begin(requests[index].body)]));
  await setTimeout(3);
  const tags = ids.map((id) => known.get(id).tag);
  if (tags.includes('fail')) throw new Error('asked to fail');
  return ids.map((id, index) => {
    const request = known.get(id);
    request.part += 1;
    request.left -= 1;
    if (request.left > 0) context.continueResponse(index);
    const padding = request.tag === 'large' ? 'x'.repeat(200_000) : '';
    const { tag, part } = request;
    return `${JSON.stringify({ tag, part, parameters: Object.keys(requests[index]).length, batch: tags })}${padding}\n`;
  });
}

function begin(body) {
  const [tag, count] = body.split(':');
  return { tag, part: 0, left: Number(count) };
}
