/**
 * python: archives with Python handlers, run as they are by the unmodified worker of TorchServe's pip package.
 * protocol.ts and reply-reader.ts speak its socket protocol, python-process.ts starts and ends the process,
 * python-worker.ts puts it behind the pool's interface, interpreter.ts finds a Python that has what it needs.
 * Knows neither Nest nor handlers of ours: what the worker is told to load comes from outside.
 */
export {
  REQUIRED_PACKAGES,
  askInterpreter,
  importProblem,
  interpreterCommand,
  shortcomings,
  usableInterpreter,
  type Interpreter,
} from './interpreter.js';
export type { LoadRequest } from './protocol.js';
export { installRequirements, venvInterpreter } from './requirements.js';
export type { RankGroup } from './torchrun.js';
export { PythonWorker, type PythonWorkerOptions } from './python-worker.js';
