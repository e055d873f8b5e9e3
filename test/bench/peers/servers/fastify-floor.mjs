// Limit F: a bare Fastify route that reads and parses the body and answers a constant. Usage: fastify-floor.mjs PORT ANSWER_FILE
import { readFileSync } from 'node:fs';
import fastify from 'fastify';

const [port, answerFile] = process.argv.slice(2);
const answer = readFileSync(answerFile);
const app = fastify({ bodyLimit: 8 << 20 });
app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
);
app.removeContentTypeParser('application/json');
app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) =>
  done(null, JSON.parse(body)),
);
const text = answer.toString('utf8');
app.post('/predict', (request, reply) => {
  if (Buffer.isBuffer(request.body)) return reply.type('application/octet-stream').send(answer);
  return reply.type('application/json').send(text);
});
await app.listen({ port: Number(port), host: '127.0.0.1' });
