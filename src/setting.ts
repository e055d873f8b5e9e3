import { MarlineError } from '#libs/common';
import type { ModelOverrides } from '#libs/serve';
import { parseAddress, type DefaultPorts, type ListenAddress } from './address.js';

/** One value of the configuration. The makers below are its kinds; each refuses what it cannot read with the reason. */
export interface Setting<T> {
  /** The key in `config.properties`, TorchServe's where it has one; the environment variables are `TS_` and `MARLINE_` with the key in capitals. */
  readonly key: string;
  /** TorchServe's variable, where it is not `TS_` and the key. */
  readonly variable?: string;
  /** The key that lets TorchServe's variable count, where it is not `enable_envvars_config`. */
  readonly permittedBy?: string;
  /** What the start-up output calls it; without one it is not shown. */
  readonly label?: string;
  readonly default: string;
  readonly parse: (text: string) => T;
}

/** An address to listen on. @param portless the ports of an address that names none */
export function address(
  key: string,
  label: string,
  port: number,
  portless: DefaultPorts,
): Setting<ListenAddress> {
  return { key, label, default: `http://127.0.0.1:${port}`, parse: (value) => parseAddress(value, portless) };
}

/** A port; 0 takes a free one. */
export function port(key: string, label: string, byDefault: number): Setting<number> {
  const parse = (value: string) => {
    const number = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
    if (number <= 65_535) return number;
    throw invalid(`Invalid port number: ${value}. Ports go from 1 to 65535; 0 takes a free one`);
  };
  return { key, label, default: String(byDefault), parse };
}

/** Any text. */
export function text(key: string, label?: string, byDefault = ''): Setting<string> {
  return { key, label, default: byDefault, parse: (value) => value };
}

/** The first of `values` is the default. */
export function oneOf<Value extends string>(
  key: string,
  label: string,
  values: readonly Value[],
): Setting<Value> {
  const parse = (value: string) => {
    const found = values.find((candidate) => candidate === value.toLowerCase());
    if (found !== undefined) return found;
    throw invalid(`"${value}" is none of ${values.join(', ')}`);
  };
  return { key, label, default: String(values[0]), parse };
}

/** A JSON object; TorchServe has no variable for those. */
export function json(key: string, label: string): Setting<ModelOverrides> {
  const parse = (value: string) => {
    const parsed = parseJson(value);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
      return parsed as ModelOverrides;
    throw invalid(`${JSON.stringify(value.slice(0, 100))} is not a JSON object`);
  };
  return { key, label, default: '{}', parse };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A text that goes out as the value of a field of HTTP. */
export function header(key: string, label: string): Setting<string> {
  const parse = (value: string) => {
    if (/^[\t\x20-\x7e]*$/.test(value)) return value;
    throw invalid(`"${value}" has characters that no header may have`);
  };
  return { key, label, default: '', parse };
}

/** Items between commas. */
export function list(key: string, label: string): Setting<readonly string[]> {
  const parse = (value: string) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  return { key, label, default: '', parse };
}

/** A whole number from `least` up. */
export function integer(key: string, label: string, byDefault: number, least = 1): Setting<number> {
  const parse = (value: string) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least) return number;
    throw invalid(`"${value}" is not a whole number from ${least} up`);
  };
  return { key, label, default: String(byDefault), parse };
}

/** A number above 0, also a broken one. */
export function positiveNumber(key: string, label: string, byDefault: number): Setting<number> {
  const parse = (value: string) => {
    const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : 0;
    if (number > 0) return number;
    throw invalid(`"${value}" is not a number above 0`);
  };
  return { key, label, default: String(byDefault), parse };
}

/** A whole number, or nothing. */
export function optionalInteger(key: string, label: string | undefined): Setting<number | undefined> {
  const { parse } = integer(key, key, 0, 0);
  return { key, label, default: '', parse: (value) => (value === '' ? undefined : parse(value)) };
}

/** `true` or `false`, in any letter case. */
export function flag(key: string, label: string | undefined, byDefault: boolean): Setting<boolean> {
  const parse = (value: string) => {
    if (/^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
    throw invalid(`"${value}" is neither true nor false`);
  };
  return { key, label, default: String(byDefault), parse };
}

/** What is wrong with a configuration. */
export function invalid(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('OPTIONS_INVALID', { reason }, { cause });
}
