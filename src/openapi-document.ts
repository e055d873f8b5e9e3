import { Injectable, type INestApplication } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { MarlineError, VERSION } from '#libs/common';
import { planeTag, type PlaneName } from '#libs/inference';

type PathItem = OpenAPIObject['paths'][string];
type Method = 'get' | 'post' | 'put' | 'delete';

const METHODS: readonly Method[] = ['get', 'post', 'put', 'delete'];

/** What the routes of the standalone server say of themselves, put together by `@nestjs/swagger` when it is asked for first. */
@Injectable()
export class OpenApiDocument {
  #app: INestApplication | undefined;
  #whole: Promise<OpenAPIObject> | undefined;

  /** The application whose routes it describes. */
  describe(app: INestApplication): void {
    this.#app = app;
  }

  /**
   * The document of a port.
   * @param planes what the port serves
   * @throws MarlineError `BAD_REQUEST` with the status 404 where `@nestjs/swagger` is not installed
   */
  async of(planes: readonly PlaneName[]): Promise<OpenAPIObject> {
    const whole = await (this.#whole ??= this.#make());
    const tags = planes.map(planeTag);
    const paths = Object.entries(whole.paths).flatMap(([path, item]) => {
      const own = operationsOf(item).filter(([, operation]) =>
        operation.tags?.some((tag) => tags.includes(tag)),
      );
      return own.length === 0 ? [] : [[path, Object.fromEntries(own)] as const];
    });
    return { ...whole, paths: Object.fromEntries(paths) };
  }

  async #make(): Promise<OpenAPIObject> {
    if (this.#app === undefined) throw new MarlineError('SHUTTING_DOWN');
    const { DocumentBuilder, SwaggerModule } = await loadSwagger();
    const config = new DocumentBuilder()
      .setTitle('Marline')
      .setDescription('The routes of this port.')
      .setVersion(VERSION)
      .addBearerAuth({ type: 'http', description: 'A key of key_file.json, where tokens are on.' })
      .addSecurityRequirements('bearer')
      .addSecurityRequirements({});
    return SwaggerModule.createDocument(this.#app, config.build());
  }
}

function operationsOf(item: PathItem) {
  return METHODS.flatMap((method) => {
    const operation = item[method];
    return operation === undefined ? [] : [[method, operation] as const];
  });
}

async function loadSwagger(): Promise<typeof import('@nestjs/swagger')> {
  try {
    return await import('@nestjs/swagger');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const reason =
      'The document needs the package @nestjs/swagger; npm install @nestjs/swagger where marline is, and start the server again.';
    throw new MarlineError('BAD_REQUEST', { reason, status: 404 }, { cause });
  }
}
