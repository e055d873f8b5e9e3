import { describe, expect, it } from 'vitest';
import { comparableMetrics } from './metrics-text.js';
import { readRecords, type RecordedHttp } from './records.js';

const records = readRecords('metrics.jsonl').filter(
  (record) => record.kind !== 'grpc' && record.request?.port === 'metrics',
) as RecordedHttp[];
const textOf = (name: string) => records.find((record) => record.name === name)?.response.body ?? '';
const recorded = textOf('all');

describe('recorded metrics', () => {
  it('are the same without the trailing comma, in another order and with other times', () => {
    const families = recorded.split(/(?=^# HELP )/m).toReversed();
    const ours = families
      .join('')
      .replaceAll(',}', '}')
      .replace(/^(QueueTime\{.*\}) .*$/m, '$1 12');
    expect(ours).not.toBe(recorded);
    expect(comparableMetrics(ours)).toEqual(comparableMetrics(recorded));
  });

  it.each([
    ['a count', 'hostname="${HOSTNAME}",} 2.0', 'hostname="${HOSTNAME}",} 3.0'],
    ['the name of a label', 'model_version=', 'version='],
    ['the value of a label', 'model_name="misc"', 'model_name="mist"'],
    ['a type', '# TYPE LabTime histogram', '# TYPE LabTime gauge'],
    ['a unit', 'with unit: MB', 'with unit: GB'],
    ['a bucket', 'le="7.5"', 'le="7"'],
    ['a name', 'LabSize', 'LabSizes'],
  ])('are not the same when %s is another', (_what, from, to) => {
    expect(recorded).toContain(from);
    expect(comparableMetrics(recorded.replaceAll(from, to))).not.toEqual(comparableMetrics(recorded));
  });

  it('are not the same when a metric is missing or too many', () => {
    const fresh = textOf('fresh');
    const shorter = fresh.replace(/# HELP Requests4XX .*\n# TYPE Requests4XX .*\n/, '');
    expect(comparableMetrics(shorter)).not.toEqual(comparableMetrics(fresh));
    const longer = `${fresh}# HELP Other x\n# TYPE Other gauge\n`;
    expect(comparableMetrics(longer)).not.toEqual(comparableMetrics(fresh));
  });
});
