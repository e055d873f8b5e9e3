import { isatty } from 'node:tty';
import { ConsoleLogger } from '@nestjs/common';

const STDOUT = 1;

/** What Nest tells about its own start: of no use to who runs a server. */
const FRAMEWORK = new Set([
  'NestFactory',
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestApplication',
  'NestMicroservice',
]);

/** The server's log: Nest's lines, without those about building the application. */
export class StandaloneLogger extends ConsoleLogger {
  constructor() {
    super({
      prefix: 'Marline',
      logLevels: ['log', 'warn', 'error', 'fatal'],
      colors: isatty(STDOUT) && !process.env['NO_COLOR'],
    });
  }

  override log(message: unknown, ...rest: unknown[]): void {
    const context = rest.at(-1);
    if (typeof context === 'string' && FRAMEWORK.has(context)) return;
    // The module sees only options here; the server has told the same values with where they really came from.
    if (typeof message === 'string' && message.startsWith('Options: ')) return;
    super.log(message, ...(rest as [string]));
  }
}
