import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The repository, and what the benchmark keeps there outside git. */
export const ROOT = at('../../..');
export const SERVERS = at('./servers/');
export const PEERS_FOLDER = at('../../../.marline/peers/');
export const MODELS_FOLDER = at('../../../.marline/bench-models/');

/** A folder below `.marline/peers`, made when it is missing. */
export function peersFolder(name: string): string {
  const folder = `${PEERS_FOLDER}${name}`;
  mkdirSync(folder, { recursive: true });
  return folder;
}
