import type { HandlerMetric } from '#libs/common';

const MARK = '[METRICS]';
const LINE =
  /^(?<name>[\w\s]+)\.(?<unit>[\w\s]+):(?<value>[0-9\-,.e]+)\|#(?<dimensions>[^|]*)(?:\|#type:(?<type>COUNTER|GAUGE|HISTOGRAM))?\|#hostname:[^,]*(?:,\d+(?:,(?<requestIds>.*))?)?$/;

/** True for a line of a worker that is meant for the metrics, not for the log. */
export function isMetricLine(line: string): boolean {
  return line.startsWith(MARK);
}

/**
 * The metric in a line such as `[METRICS]HandlerTime.ms:1.5|#ModelName:echo,Level:Model|#type:GAUGE|#hostname:…`, as
 * TorchServe's front end reads it; `undefined` for a line that it does not understand either.
 */
export function parseMetric(line: string): HandlerMetric | undefined {
  const {
    name,
    unit = '',
    value,
    dimensions = '',
    type = 'COUNTER',
    requestIds,
  } = LINE.exec(line.slice(MARK.length))?.groups ?? {};
  const number = Number(value);
  if (name === undefined || !Number.isFinite(number)) return undefined;
  const pairs = dimensions.split(',').map((pair) => pair.split(':'));
  return {
    name,
    value: number,
    unit,
    type: type.toLowerCase() as HandlerMetric['type'],
    dimensions: Object.fromEntries(pairs.filter((pair) => pair.length === 2) as [string, string][]),
    ...(requestIds !== undefined && { requestIds }),
  };
}
