import type { ServerUnaryCall } from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { MarlineError } from '#libs/common';
import { ModelOperations, type ParameterSource } from '#libs/management';
import { GrpcRoutes } from './grpc-routes.js';

interface ManagementResponse {
  readonly msg: string;
}

interface ModelRequest {
  readonly model_name: string;
  readonly model_version: string;
}

/** A request as proto-loader decodes it: what is missing is 0, false or an empty text. */
type Fields = Readonly<Record<string, unknown>>;

const SERVICE = 'org.pytorch.serve.grpc.management.ManagementAPIsService';

/** TorchServe's management service: {@link ModelOperations} over gRPC. A number that is not positive counts as not given. */
@Controller()
@GrpcRoutes('management')
export class ManagementApisController {
  constructor(private readonly operations: ModelOperations) {}

  /** The JSON of the same route over HTTP. */
  @GrpcMethod(SERVICE, 'DescribeModel')
  async describeModel(
    request: ModelRequest & { readonly customized: boolean },
    _metadata: unknown,
    _call: ServerUnaryCall<unknown, ManagementResponse>,
  ): Promise<ManagementResponse> {
    const { model_name: model, model_version: version, customized } = request;
    const { versions } = await this.operations.describe(
      model,
      version || undefined,
      given({ customized }),
      [],
    );
    return answer(versions);
  }

  /** A page of the models; a limit of 0, which a client that gives none sends, is taken at its word. */
  @GrpcMethod(SERVICE, 'ListModels')
  listModels({
    limit,
    next_page_token,
  }: {
    readonly limit: number;
    readonly next_page_token: number;
  }): ManagementResponse {
    return answer(this.operations.list({ kind: 'json', body: { limit, next_page_token } }));
  }

  /** Registers a model; not synchronous unless told so, other than over HTTP. */
  @GrpcMethod(SERVICE, 'RegisterModel')
  async registerModel(request: Fields): Promise<ManagementResponse> {
    return outcome(await this.operations.register(given(request)));
  }

  /** Changes the number of workers. */
  @GrpcMethod(SERVICE, 'ScaleWorker')
  async scaleWorker(request: ModelRequest & Fields): Promise<ManagementResponse> {
    const { model_name: model, model_version: version, ...parameters } = request;
    assertName(model);
    return outcome(await this.operations.scale(model, version || undefined, given(parameters)));
  }

  /** Makes a version the default. */
  @GrpcMethod(SERVICE, 'SetDefault')
  setDefault({ model_name: model, model_version: version }: ModelRequest): ManagementResponse {
    return outcome(this.operations.setDefault(model, version));
  }

  /** Takes a version out of service. */
  @GrpcMethod(SERVICE, 'UnregisterModel')
  async unregisterModel({
    model_name: model,
    model_version: version,
  }: ModelRequest): Promise<ManagementResponse> {
    this.operations.assertModelApi();
    // TorchServe names the wrong parameter, and clients may match its text.
    if (model === '') throw new MarlineError('BAD_REQUEST', { reason: 'Parameter url is required.' });
    return outcome(await this.operations.unregister(model, version || undefined));
  }
}

/** The parameters that a message gives. */
function given(fields: Fields): ParameterSource {
  const isGiven = (value: unknown) => (typeof value === 'number' ? value > 0 : value !== '');
  return {
    kind: 'json',
    body: Object.fromEntries(Object.entries(fields).filter(([, value]) => isGiven(value))),
  };
}

function assertName(model: string): void {
  if (model === '') throw new MarlineError('BAD_REQUEST', { reason: 'Parameter model_name is required.' });
}

function answer(value: unknown): ManagementResponse {
  return { msg: JSON.stringify(value, null, 2) };
}

function outcome({ text }: { readonly text: string }): ManagementResponse {
  return { msg: text };
}
