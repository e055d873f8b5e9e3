import { fileURLToPath } from 'node:url';
import { sep } from 'node:path';
import type { ModelArchive } from '#libs/archive';
import { MarlineError } from '#libs/common';
import type { HandlerPlan } from '#libs/handler';
import type { ModelSettings } from './model-settings.js';

/**
 * Code of an archive never runs on the main thread: it could read and change all of the application.
 * @throws MarlineError `ARCHIVE_UNSAFE`
 */
export function checkIsolation(
  { isolation }: Pick<ModelSettings, 'isolation'>,
  plan: HandlerPlan,
  archive: Pick<ModelArchive, 'dir'>,
): void {
  if (isolation !== 'none' || plan.runs !== 'worker' || plan.handler.kind !== 'module') return;
  const path = fileURLToPath(plan.handler.url);
  if (!path.startsWith(archive.dir + sep)) return;
  const name = path.slice(archive.dir.length + 1);
  throw new MarlineError('ARCHIVE_UNSAFE', {
    reason:
      `marline.isolation: none runs a model on the main thread, and the archive brings code of its own (${name}), which may not run there. ` +
      'Use thread or process, or a built-in handler.',
  });
}
