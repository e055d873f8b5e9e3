import { Expose, Transform } from 'class-transformer';
import {
  Validate,
  ValidatorConstraint,
  type ValidationArguments,
  type ValidatorConstraintInterface,
} from 'class-validator';
import { weightsProblem, type TrafficWeights } from '#libs/inference';

@ValidatorConstraint()
class AreWeights implements ValidatorConstraintInterface {
  validate(value: unknown): boolean {
    return weightsProblem(value) === undefined;
  }

  defaultMessage({ value }: ValidationArguments): string {
    return weightsProblem(value) ?? '';
  }
}

/** `PUT /models/{model}/traffic`, whose body is the weights themselves. */
export class TrafficDto {
  // Not copied by class-transformer, to which some names of versions mean something.
  @Expose()
  @Transform(({ obj }) => (obj as TrafficDto).weights)
  @Validate(AreWeights)
  readonly weights: TrafficWeights;

  /** The weight of a version; `undefined` when it has none. */
  of(version: string): number | undefined {
    return Object.hasOwn(this.weights, version) ? this.weights[version] : undefined;
  }

  /** Such as `1.0 90 %, 2.0 10 %`. */
  inWords(): string {
    const given = Object.entries(this.weights);
    const sum = given.reduce((total, [, weight]) => total + weight, 0);
    return given
      .map(([version, weight]) => `${version} ${Number(((weight / sum) * 100).toPrecision(4))} %`)
      .join(', ');
  }
}
