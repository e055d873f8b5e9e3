import { Inject } from '@nestjs/common';

/** The token of the {@link ServedModel} of that name: to override it in tests, or to get it without a decorator. @publicApi */
export function getModelToken(name: string): string {
  return `ServedModel(${name})`;
}

/**
 * Injects the {@link ServedModel} of that name, which `MarlineModule.forFeature([name])` provides. The model need not be
 * loaded yet: a call before it is rejects with `MODEL_NOT_FOUND`.
 *
 * @example constructor(@InjectModel('fraud') private readonly fraud: ServedModel<Order, Risk>) {}
 * @publicApi
 */
export function InjectModel(name: string): ParameterDecorator & PropertyDecorator {
  return Inject(getModelToken(name));
}
