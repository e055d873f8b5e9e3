import { Expose, Transform, plainToInstance, type ClassConstructor } from 'class-transformer';
import { IsBoolean, IsIn, IsInt, IsOptional, IsString, validateSync } from 'class-validator';
import { RUNTIMES } from '#libs/archive';
import { MarlineError } from '#libs/common';

/**
 * Where parameters come from. TorchServe reads a query leniently (what is no integer counts as not given, what is not
 * `true` is false) and JSON strictly but for numbers and booleans in quotes.
 */
export type ParameterSource =
  | { readonly kind: 'query'; readonly query: URLSearchParams }
  | { readonly kind: 'json'; readonly body: Readonly<Record<string, unknown>> };

const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 };

/** Numbers by which TorchServe's own defaults say "not given". */
const UNSET = { batchSize: -1, maxBatchDelay: -100, responseTimeout: -1, startupTimeout: -1 };

/** An optional integer called `name`; `unset` is a number that means the same as leaving it out. */
function Integer(name: string, unset?: number): PropertyDecorator {
  const message = `Parameter ${name} is an integer from ${INT32.min} to ${INT32.max}.`;
  return (target, key) => {
    Expose({ name })(target, key);
    Transform(({ value, options }) => {
      const number = toInteger(value);
      if (number === unset || value === null) return undefined;
      return number ?? (options.groups?.includes('query') === true ? undefined : (value as unknown));
    })(target, key);
    IsOptional()(target, key);
    IsInt({ message })(target, key);
  };
}

/** A boolean called `name`: `true` in any letter case, everything else is false. */
function Flag(name: string, byDefault: boolean): PropertyDecorator {
  return (target, key) => {
    Expose({ name })(target, key);
    Transform(({ value }) => toBoolean(value, byDefault))(target, key);
    IsBoolean({ message: `Parameter ${name} is true or false.` })(target, key);
  };
}

/** An optional text called `name`. */
function Text(name: string): PropertyDecorator {
  return (target, key) => {
    Expose({ name })(target, key);
    Transform(({ value }) => toText(value))(target, key);
    IsOptional()(target, key);
    IsString({ message: `Parameter ${name} is a text.` })(target, key);
  };
}

/** `POST /models`. */
export class RegisterModelDto {
  /** A file or folder of the model store. */
  @Expose()
  @Transform(({ value }) => toText(value))
  @IsString({ message: 'Parameter url is required.' })
  readonly url: string;

  @Text('model_name')
  readonly modelName?: string;

  @Text('handler')
  readonly handler?: string;

  @Text('runtime')
  @IsIn([...RUNTIMES], { message: 'Invalid RuntimeType value: $value' })
  readonly runtime?: string;

  @Integer('batch_size', UNSET.batchSize)
  readonly batchSize?: number;

  /** Milliseconds. */
  @Integer('max_batch_delay', UNSET.maxBatchDelay)
  readonly maxBatchDelay?: number;

  @Integer('initial_workers')
  readonly initialWorkers?: number;

  /** Seconds. */
  @Integer('response_timeout', UNSET.responseTimeout)
  readonly responseTimeout?: number;

  /** Seconds. */
  @Integer('startup_timeout', UNSET.startupTimeout)
  readonly startupTimeout?: number;

  /** Waits for the workers; TorchServe's REST interface does unless told otherwise. */
  @Flag('synchronous', true)
  readonly synchronous: boolean;

  /** Ours: puts the version in the place of the default one, without a failed request. */
  @Flag('replace', false)
  readonly replace: boolean;
}

/** `PUT /models/{model}[/{version}]`. */
export class ScaleModelDto {
  @Integer('min_worker')
  readonly minWorker?: number;

  @Integer('max_worker')
  readonly maxWorker?: number;

  @Text('model_version')
  readonly modelVersion?: string;

  @Flag('synchronous', false)
  readonly synchronous: boolean;
}

/** `GET /models`. */
export class ListModelsDto {
  @Integer('limit')
  readonly limit?: number;

  @Integer('next_page_token')
  readonly nextPageToken?: number;
}

/** `GET /models/{model}[/{version}]`. */
export class DescribeModelDto {
  /** Asks the handler what it has to say of its model. */
  @Flag('customized', false)
  readonly customized: boolean;
}

/**
 * The parameters of a call.
 * @throws MarlineError `BAD_REQUEST` with the text of the first parameter that is wrong
 */
export function readParameters<Dto extends object>(dto: ClassConstructor<Dto>, source: ParameterSource): Dto {
  // Of a repeated parameter TorchServe takes the first; fromEntries keeps the last.
  const plain = source.kind === 'json' ? source.body : Object.fromEntries([...source.query].toReversed());
  const parameters = plainToInstance(dto, plain, { excludeExtraneousValues: true, groups: [source.kind] });
  const wrong = validateSync(parameters, { forbidUnknownValues: true, stopAtFirstError: true })[0];
  const [reason] = Object.values(wrong?.constraints ?? {});
  if (reason !== undefined) throw new MarlineError('BAD_REQUEST', { reason });
  return parameters;
}

function toInteger(value: unknown): number | undefined {
  const isText = typeof value === 'string' && /^[+-]?\d+$/.test(value);
  const number = isText || typeof value === 'number' ? Number(value) : NaN;
  return Number.isInteger(number) && number >= INT32.min && number <= INT32.max ? number : undefined;
}

function toBoolean(value: unknown, byDefault: boolean): unknown {
  if (value === undefined || value === null) return byDefault;
  return typeof value === 'string' ? value.toLowerCase() === 'true' : value;
}

function toText(value: unknown): unknown {
  if (value === null) return undefined;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
}
