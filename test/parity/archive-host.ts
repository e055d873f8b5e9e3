import { once } from 'node:events';
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** The file server of the recordings: archives at `/ok/` and `/other/`, under a new name too (`dl1_echo.mar`), and ways to fail. */
export interface ArchiveHost {
  readonly port: number;
  close(): Promise<void>;
}

export async function startArchiveHost(store: string): Promise<ArchiveHost> {
  const server = createServer((request, response) => {
    const [, folder = '', name = ''] = (request.url ?? '').split('?', 1)[0]?.split('/') ?? [];
    const file = join(store, name.replace(/^dl\d*_/, ''));
    if (folder === 'redirect') response.writeHead(302, { location: `/ok/${name}` }).end();
    else if (folder === 'fail') response.writeHead(500).end();
    else if ((folder === 'ok' || folder === 'other') && existsSync(file))
      createReadStream(file).pipe(response);
    else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
