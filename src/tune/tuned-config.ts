import { parseDocument, isMap, type Document } from 'yaml';
import type { TuneSetting } from './tune-settings.js';

/**
 * A `model-config.yaml` with the setting in it. Other keys and comments of the archive's own file stay; one that is no map of keys is
 * replaced, as the server ignores it.
 * @param own the archive's own file; empty without one
 */
export function tunedConfig(own: string, setting: TuneSetting): Document {
  const parsed = parseDocument(own, { schema: 'core', merge: true, uniqueKeys: false });
  const usable = parsed.errors.length === 0 && isMap(parsed.contents);
  const document = usable ? parsed : parseDocument('{}', { schema: 'core' });
  if (isMap(document.contents)) document.contents.flow = false;
  document.set('minWorkers', setting.workers);
  document.set('maxWorkers', setting.workers);
  document.set('batchSize', setting.batchSize);
  if (!isMap(document.get('marline'))) document.set('marline', document.createNode({}));
  document.setIn(['marline', 'intraOpThreads'], setting.intraOpThreads);
  return document;
}

/** The text to measure: so many callers must find room in the queue, however short the archive's own is. */
export function measuredConfig(own: string, setting: TuneSetting, callers: number): string {
  const document = tunedConfig(own, setting);
  document.set('jobQueueSize', callers);
  return document.toString();
}

/** The text to keep, under the story of how it was found. */
export function commentedConfig(own: string, setting: TuneSetting, story: readonly string[]): string {
  const head = story.map((line) => `# ${line}\n`).join('');
  return `${head}\n${tunedConfig(own, setting).toString()}`;
}
