import { getProperties } from 'properties-file';
import { MarlineError } from '#libs/common';

/** Environment variables by name, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads Java properties (`\` continues a line, `#` and `!` start comments).
 * @returns the values by key, in the order of the file
 */
export function parseProperties(text: string): ReadonlyMap<string, string> {
  return new Map(Object.entries(getProperties(text)).map(([key, value]) => [key, value.trim()]));
}

/**
 * Fills properties in as TorchServe does: `$$NAME$$` in a value stands for the environment variable NAME.
 * @throws MarlineError `OPTIONS_INVALID` when such a variable is not set
 */
export function fillIn(
  properties: ReadonlyMap<string, string>,
  environment: Environment,
): ReadonlyMap<string, string> {
  return new Map([...properties].map(([key, value]) => [key, substitute(key, value, environment)]));
}

function substitute(key: string, value: string, environment: Environment): string {
  return value.replaceAll(/\$\$([^$]+)\$\$/g, (_, name: string) => {
    const replacement = environment[name];
    if (replacement === undefined) {
      const reason = `Invalid Environment Variable ${name}: ${key}=${value} needs it. Set it, or write the value in its place.`;
      throw new MarlineError('OPTIONS_INVALID', { reason });
    }
    return replacement;
  });
}
