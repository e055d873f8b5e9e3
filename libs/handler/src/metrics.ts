import type { HandlerMetric } from '#libs/common';
import type { HandlerMetrics } from './context.js';

type Dimensions = Readonly<Record<string, string>>;

/** TorchServe's names of the units that its handlers write in short. */
const UNITS: Readonly<Record<string, string>> = {
  ms: 'Milliseconds',
  s: 'Seconds',
  percent: 'Percent',
  count: 'Count',
  MB: 'Megabytes',
  GB: 'Gigabytes',
  kB: 'Kilobytes',
  B: 'Bytes',
  '': 'unit',
};

/**
 * Turns the calls of a handler into metric events. Every one but `addError` says which model it is about, as TorchServe's do.
 * A value that is no finite number, or a negative counter, is an error of the handler.
 */
export class EmittingMetrics implements HandlerMetrics {
  /** @param requestIds of the requests that are handled meanwhile; none while the model loads */
  constructor(
    private readonly emit: (metric: HandlerMetric) => void,
    private readonly modelName: string,
    private readonly requestIds: readonly string[],
  ) {}

  addCounter(name: string, value: number, dimensions: Dimensions = {}): void {
    this.#add(name, value, 'count', 'counter', this.#ofModel(dimensions));
  }

  addTime(name: string, value: number, unit: 'ms' | 's' = 'ms', dimensions: Dimensions = {}): void {
    this.#add(name, value, unit, 'gauge', this.#ofModel(dimensions));
  }

  addSize(
    name: string,
    value: number,
    unit: 'MB' | 'kB' | 'GB' | 'B' = 'MB',
    dimensions: Dimensions = {},
  ): void {
    this.#add(name, value, unit, 'gauge', this.#ofModel(dimensions));
  }

  addPercent(name: string, value: number, dimensions: Dimensions = {}): void {
    this.#add(name, value, 'percent', 'gauge', this.#ofModel(dimensions));
  }

  addError(name: string, value: number, dimensions: Dimensions = { Level: 'Error' }): void {
    this.#add(name, value, '', 'counter', dimensions);
  }

  addMetric(
    name: string,
    value: number,
    unit: string,
    dimensions: Dimensions = {},
    type: HandlerMetric['type'] = 'counter',
  ): void {
    this.#add(name, value, unit, type, this.#ofModel(dimensions));
  }

  #ofModel(dimensions: Dimensions): Dimensions {
    return { ...dimensions, ModelName: this.modelName, Level: 'Model' };
  }

  #add(name: string, value: number, unit: string, type: HandlerMetric['type'], dimensions: Dimensions): void {
    if (!Number.isFinite(value))
      throw new TypeError(`The value of metric ${name} is ${value}; a finite number is needed.`);
    if (type === 'counter' && value < 0) throw new TypeError(`The counter ${name} cannot grow by ${value}.`);
    const metric: HandlerMetric = {
      name,
      value,
      unit: UNITS[unit] ?? unit,
      type,
      dimensions: { ...dimensions },
    };
    this.emit(this.requestIds.length === 0 ? metric : { ...metric, requestIds: this.requestIds.join(',') });
  }
}
