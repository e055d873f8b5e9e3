import type { InitializeHook, ResolveHook } from 'node:module';

/**
 * A module hook of Node: answers `import 'marline/handler'`, from wherever, with our own copy. Archives are unpacked
 * outside any `node_modules`, and what they extend has to be the very class that the runner knows.
 */
let entry: string;

export const initialize: InitializeHook<{ entry: string }> = (data) => {
  entry = data.entry;
};

export const resolve: ResolveHook = (specifier, context, next) =>
  specifier === 'marline/handler' ? next(entry, context) : next(specifier, context);
