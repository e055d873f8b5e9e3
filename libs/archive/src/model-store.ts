import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, isAbsolute, join, resolve, sep } from 'node:path';
import { MarlineError, isMarlineError } from '#libs/common';
import { AllowedUrls } from './allowed-urls.js';
import { unsafe } from './archive-errors.js';
import { DEFAULT_ARCHIVE_LIMITS, type ArchiveLimits } from './archive-limits.js';
import { ContentCache, type HeldContent } from './content-cache.js';
import { Downloads } from './downloads.js';
import { defaultModelName } from './manifest.js';
import { inspectArchive, readManifest, unpackArchive } from './mar-reader.js';
import type { ModelArchive } from './model-archive.js';
import { readModelConfig } from './model-config.js';
import { fetchArchive, isRemote } from './remote-archive.js';

export interface ArchiveOptions {
  /** The operator's folder of archives; without it nothing can be opened. */
  readonly modelStore?: string;
  /** Where archives are unpacked; belongs to this server's user alone. Processes of one machine may share it. */
  readonly cacheDir: string;
  /** From where else archives may come: see {@link AllowedUrls}. From nowhere by default. */
  readonly allowedUrls?: readonly string[];
  /** What differs from {@link DEFAULT_ARCHIVE_LIMITS}. */
  readonly limits?: Partial<ArchiveLimits>;
}

type UnpackedArchive = HeldContent & { readonly sha256: string };

/** Part of every folder's key: a change in how archives are unpacked must not meet what an older version left behind. */
const LAYOUT = 'v1';

/**
 * The operator's model store: finds an archive by its `url`, unpacks it once per machine and content, and reads it.
 * Links in the store itself are the operator's own act and are followed; links inside an archive are not.
 *
 * @example
 * const archive = await store.open('mnist.mar');
 * try { load(archive.dir, archive.manifest) } finally { await archive.release() }
 */
export class ModelStore {
  private readonly root?: string;
  private readonly limits: ArchiveLimits;
  private readonly cache: ContentCache;
  private readonly allowed: AllowedUrls;
  private readonly downloads: Downloads;

  /** @throws MarlineError `OPTIONS_INVALID` for an allowed URL that is none */
  constructor({ modelStore, cacheDir, allowedUrls = [], limits }: ArchiveOptions) {
    if (modelStore !== undefined && modelStore !== '') this.root = resolve(modelStore);
    this.limits = { ...DEFAULT_ARCHIVE_LIMITS, ...limits };
    this.cache = new ContentCache(join(resolve(cacheDir), 'archives'));
    this.allowed = new AllowedUrls(allowedUrls);
    this.downloads = new Downloads(join(resolve(cacheDir), 'downloads'));
  }

  /**
   * Opens a file or folder of the store, or an archive that {@link ArchiveOptions.allowedUrls} allows. `url` is a path relative to the store,
   * or an absolute one inside it, or a URL.
   * The archive is held until {@link ModelArchive.release}; a failure leaves nothing behind.
   * @throws MarlineError `ARCHIVE_URL_REFUSED`, `ARCHIVE_EXISTS`, `ARCHIVE_NOT_FOUND`, `ARCHIVE_DOWNLOAD_FAILED`, `ARCHIVE_INVALID`, `ARCHIVE_UNSAFE`
   */
  async open(url: string): Promise<ModelArchive> {
    this.check(url);
    if (!isRemote(url)) return this.read(url, await this.unpack(url, await this.locate(url)), true);
    return this.downloads.within(async (folder) => {
      const found = await fetchArchive(url, this.allowed, folder, this.limits.archiveBytes, (name) =>
        this.refuseStored(name),
      );
      return this.read(url, await this.unpack(url, found.path, found.pins), found.trusted, found.name);
    });
  }

  private async read(
    url: string,
    held: UnpackedArchive,
    trusted: boolean,
    name = url,
  ): Promise<ModelArchive> {
    const { dir, sha256 } = held;
    try {
      const manifest = await readManifest(dir);
      const config = await readModelConfig(dir, manifest);
      return {
        url,
        defaultName: defaultModelName(name),
        dir,
        sha256,
        manifest,
        config,
        trusted,
        release: () => held.release(),
      };
    } catch (error) {
      await held.release();
      throw isMarlineError(error) && error.code === 'ARCHIVE_UNSAFE' ? named(error, url) : error;
    }
  }

  /**
   * What `load_models=all` loads: every `.mar`, `.model` and `.tar.gz` file and every folder of the store that is not
   * hidden, sorted; empty without a store.
   */
  async list(): Promise<string[]> {
    if (this.root === undefined) return [];
    const names: string[] = [];
    for (const name of await readdir(this.root).catch(() => [])) {
      if (name.startsWith('.')) continue;
      const status = await stat(join(this.root, name)).catch(() => undefined);
      if (
        status?.isDirectory() === true ||
        (status?.isFile() === true && /\.(mar|model|tar\.gz)$/.test(name))
      )
        names.push(name);
    }
    return names.toSorted();
  }

  /** Removes what dead processes left behind in the cache; call it once at start. */
  async sweep(): Promise<void> {
    await this.downloads.sweep();
    await this.cache.sweep();
  }

  private async unpack(url: string, path: string, pins: readonly string[] = []): Promise<UnpackedArchive> {
    try {
      const source = await inspectArchive(path, this.limits);
      if (pins.some((pin) => pin !== source.sha256))
        throw unsafe(`Its sha256 is ${source.sha256}, not the one that was asked for.`);
      const key = `${LAYOUT}-${source.kind}-${source.sha256}`;
      const held = await this.cache.acquire(key, (staging) => unpackArchive(source, staging, this.limits));
      return { dir: held.dir, sha256: source.sha256, release: () => held.release() };
    } catch (error) {
      throw named(error, url);
    }
  }

  /** What comes from elsewhere must not be taken for a file of the store: models are known by the last part of their url. */
  private async refuseStored(file: string): Promise<void> {
    if (this.root !== undefined && file !== '' && (await exists(join(this.root, file))))
      throw new MarlineError('ARCHIVE_EXISTS', { file });
  }

  private check(url: string): void {
    if (url === '') throw refused('empty url');
    if (url.includes('..')) throw refused(`Relative path is not allowed in url: ${url}`);
  }

  private async locate(url: string): Promise<string> {
    if (this.root === undefined) throw refused('Model store has not been configured.');
    for (const path of await candidates(this.root, url)) {
      if (await exists(path)) return path;
    }
    throw new MarlineError('ARCHIVE_NOT_FOUND', { url });
  }
}

/**
 * Where in the store a url may lie. TorchServe looks up the last part of any path; here the whole path comes first, so
 * that `sub/a.mar` never silently means `a.mar` while it exists, and an absolute path means itself or nothing.
 */
async function candidates(root: string, url: string): Promise<string[]> {
  if (url.includes('\0')) return [];
  const path = resolve(root, url);
  const roots = [root, await realpath(root).catch(() => root)];
  const inside = roots.some((folder) => path.startsWith(folder + sep)) ? [path] : [];
  return isAbsolute(url) ? inside : [...inside, join(root, basename(url))];
}

async function exists(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status?.isFile() === true || status?.isDirectory() === true;
}

// TorchServe's text first, since its clients know it; then what it never said, apart where the text is all that they know.
function named(error: unknown, url: string): MarlineError {
  if (!isMarlineError(error)) return new MarlineError('INTERNAL', {}, { cause: error });
  if (error.code !== 'ARCHIVE_UNSAFE' && error.code !== 'ARCHIVE_INVALID') return error;
  const reason = `Failed to save model: ${url}. ${error.message}`;
  const apart = error.code === 'ARCHIVE_UNSAFE' ? { archive: url, cause: error.message } : {};
  return new MarlineError(error.code, { reason, ...apart }, { cause: error });
}

function refused(reason: string): MarlineError {
  return new MarlineError('ARCHIVE_URL_REFUSED', { reason });
}
