import { join } from 'node:path';
import { torchrunArguments, type RankGroup } from './torchrun.js';

/** Where rank 0 of a worker listens; the numbers of the others follow. */
export type WorkerAddress = { readonly path: string } | { readonly port: number };

/** What a worker's command line is made of. */
export interface CommandOptions {
  readonly interpreter: string;
  readonly torchServeDir: string;
  /** Without its last number: the path of a rank is the one of rank 0 plus its number. */
  readonly address: WorkerAddress;
  /** The yaml file of metrics that the handler may name. */
  readonly metricsConfig?: string;
  readonly async?: boolean;
  readonly group?: RankGroup;
  /** A private folder, where torchrun may write. */
  readonly folder: string;
  /** Memory that one process may take, in bytes; 0 is no limit. */
  readonly limitBytes: number;
}

/**
 * The kernel ends the worker when the process that made it ends, however that happens. Then it limits itself, leaves no core
 * files, in which requests would lie, and becomes the worker. A parent of 0 is not checked: the maker of ranks is not known.
 */
const BOOT = `
import ctypes, os, resource, signal, sys
parent, limit = int(sys.argv[1]), int(sys.argv[2])
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if parent > 0 and os.getppid() != parent:
    sys.exit(1)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if limit > 0:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
os.execv(sys.executable, [sys.executable] + sys.argv[3:])`;
/**
 * Runs the asynchronous worker with frames that stay whole: it writes to its socket from two threads, parts of streams from one and
 * last answers from the other, and what is larger than the socket's buffer would be mixed up.
 */
const WHOLE_FRAMES = `
import runpy, socket, sys, threading
send_all, locks = socket.socket.sendall, {}
def send_whole(self, *args):
    with locks.setdefault(self.fileno(), threading.Lock()):
        return send_all(self, *args)
socket.socket.sendall = send_whole
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")`;

/** The arguments with which the interpreter becomes a worker, or a group of them. */
export function workerArguments(options: CommandOptions): string[] {
  const { interpreter, torchServeDir, address, metricsConfig, async, group, folder, limitBytes } = options;
  const worker = [
    ...(async === true ? ['-c', WHOLE_FRAMES] : []),
    join(torchServeDir, 'model_service_worker.py'),
    ...('path' in address
      ? ['--sock-type', 'unix', '--sock-name', address.path]
      : ['--sock-type', 'tcp', '--port', String(address.port)]),
    '--metrics-config',
    metricsConfig ?? join(torchServeDir, 'configs', 'metrics.yaml'),
    ...(async === true ? ['--async'] : []),
  ];
  const whole =
    group === undefined
      ? worker
      : torchrunArguments(group, join(folder, 'torchrun'), [interpreter, ...booted(0, 0, worker)]);
  return booted(process.pid, limitBytes, whole);
}

/** Limits are inherited, but not the end with the parent: ranks, which lead sessions of their own, must ask for it too. */
function booted(parent: number, limitBytes: number, args: string[]): string[] {
  if (process.platform !== 'linux') return args;
  return ['-I', '-S', '-c', BOOT, String(parent), String(limitBytes), ...args];
}
