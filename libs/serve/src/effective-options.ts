import { chmodSync, lstatSync, mkdirSync, statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { validateSync } from 'class-validator';
import { MarlineError, messageOf } from '#libs/common';
import { MarlineOptions, SHAPE_KEYS, type MarlineModuleOptions } from './marline.options.js';

/** Where a value came from, the strongest first. */
export type OptionOrigin = 'option' | 'environment' | 'default';

/** Options after all checks: nothing to fill in any more. */
export interface EffectiveOptions {
  readonly values: Readonly<MarlineOptions>;
  readonly origins: Readonly<Record<string, OptionOrigin>>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const NOT_FROM_ENVIRONMENT = ['models', 'devices', 'observer', 'schedule', 'metricsRegistry'];
const LARGEST_TYPO = 3;

/**
 * Checks what was given, fills in the environment and the defaults, and makes the cache folder.
 * @throws MarlineError `OPTIONS_INVALID` that names every wrong option with its value and the fix
 */
export function effectiveOptions(given: MarlineModuleOptions, environment: Environment): EffectiveOptions {
  const defaults = new MarlineOptions();
  const names = Object.keys(defaults) as (keyof MarlineOptions)[];
  const problems = unknownKeys(given, names);
  const values = new MarlineOptions();
  const origins: Record<string, OptionOrigin> = {};
  for (const name of names) {
    const text = NOT_FROM_ENVIRONMENT.includes(name) ? undefined : environment[environmentName(name)];
    origins[name] = given[name] !== undefined ? 'option' : text !== undefined ? 'environment' : 'default';
    if (origins[name] === 'default') continue;
    Object.assign(values, { [name]: given[name] ?? parse(text ?? '', defaults[name]) });
  }
  for (const { property, constraints } of validateSync(values, { skipMissingProperties: false })) {
    const text = Object.values(constraints ?? {})[0] ?? `${property} is wrong.`;
    problems.push(
      origins[property] === 'environment' ? text.replace(property, environmentName(property)) : text,
    );
  }
  if (problems.length === 0) problems.push(...fileProblems(values), ...folderProblems(values, origins));
  if (problems.length > 0)
    throw new MarlineError('OPTIONS_INVALID', { reason: `Marline's options: ${problems.join(' ')}` });
  return { values, origins };
}

/** One line for the log: every value with its origin. */
export function describeOptions({ values, origins }: EffectiveOptions): string {
  const shown = Object.entries(values).map(
    ([name, value]) => `${name}=${show(name, value)} (${origins[name]})`,
  );
  return `Options: ${shown.join(', ')}`;
}

/** What to say about keys that are no options; `allowed` are the right ones. */
export function unknownKeys(given: object, allowed: readonly string[]): string[] {
  return Object.keys(given).flatMap((key) => {
    if (allowed.includes(key)) return [];
    if (SHAPE_KEYS.includes(key))
      return [`${key} shapes the modules: give it to forRootAsync itself, beside the factory.`];
    const near = nearest(key, [...allowed, ...SHAPE_KEYS]);
    return [
      near === undefined ? `There is no option ${key}.` : `There is no option ${key}; did you mean ${near}?`,
    ];
  });
}

function environmentName(option: string): string {
  return `MARLINE_${option.replace(/[A-Z]/g, (capital) => `_${capital}`).toUpperCase()}`;
}

/** The text of the environment as the type of the default; what does not fit stays text for the check to refuse. */
function parse(text: string, example: unknown): unknown {
  if (typeof example === 'number') return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
  if (typeof example === 'boolean')
    return /^(true|false)$/i.test(text.trim()) ? text.trim().toLowerCase() === 'true' : text;
  if (Array.isArray(example)) return text.split(',').flatMap((part) => part.trim() || []);
  return text;
}

function show(name: string, value: unknown): string {
  if (value === undefined) return 'none';
  if (name === 'observer') return (value as object).constructor.name || 'none';
  if (name === 'schedule' || name === 'metricsRegistry') return 'given';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function fileProblems({ metricsConfig }: MarlineOptions): string[] {
  if (metricsConfig === '' || statSync(metricsConfig, { throwIfNoEntry: false })?.isFile() === true)
    return [];
  return [
    `metricsConfig is ${JSON.stringify(metricsConfig)}: there is no such file; make it, or leave it out.`,
  ];
}

function folderProblems(values: MarlineOptions, origins: Readonly<Record<string, OptionOrigin>>): string[] {
  const { modelStore, loadModels } = values;
  if (modelStore === undefined && loadModels.length > 0) {
    return [
      `loadModels is ${JSON.stringify(loadModels)}: give modelStore too, the folder of these archives.`,
    ];
  }
  if (modelStore !== undefined && statSync(modelStore, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return [
      `modelStore is ${JSON.stringify(modelStore)}: there is no such folder${isAbsolute(modelStore) ? '' : ` in ${process.cwd()}`}; make it, or name another.`,
    ];
  }
  return cacheProblems(values.cacheDir, origins['cacheDir'] === 'default');
}

// The default lies in a folder where everybody may create names: whoever made it first could plant model files.
function cacheProblems(path: string, mustBePrivate: boolean): string[] {
  try {
    mkdirSync(resolve(path), { recursive: true, mode: 0o700 });
    if (!mustBePrivate || process.getuid === undefined) return [];
    const status = lstatSync(path);
    if (!status.isDirectory() || status.uid !== process.getuid())
      return [
        `cacheDir is ${JSON.stringify(path)} by default, which belongs to another user: name a folder of your own.`,
      ];
    chmodSync(path, 0o700);
    return [];
  } catch (error) {
    return [
      `cacheDir is ${JSON.stringify(path)}, which cannot be used (${messageOf(error)}): name a folder that this process may write.`,
    ];
  }
}

/** The allowed name that differs least in letters, whatever the case and underscores; `undefined` when none is near. */
function nearest(key: string, allowed: readonly string[]): string | undefined {
  const plain = (name: string) => name.replaceAll(/[_-]/g, '').toLowerCase();
  const scored = allowed.map((name) => ({ name, distance: editDistance(plain(key), plain(name)) }));
  const [best] = scored.toSorted((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= LARGEST_TYPO ? best.name : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
