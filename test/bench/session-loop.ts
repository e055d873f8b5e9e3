/**
 * Sessions of ONNX Runtime as Marline's workers open them, on the CPU and on the first GPU, run in a loop: what a worker costs
 * without Marline around it. A child of gpu.ts, which tells it what to do.
 */
import { OnnxSession } from '../../libs/inference/src/onnx-session.js';
import type { Tensors } from '#libs/common';
import type { ModelInput } from './suite/archives.js';
import { obey } from './suite/commands.js';

/** Which session, and what it takes: the inputs of one item, each with a first dimension of 1. */
export interface LoopOrder {
  readonly model: string;
  readonly file: string;
  readonly device: 'cpu' | 'cuda:0';
  readonly inputs: readonly ModelInput[];
  /** Items of one run. */
  readonly items: number;
}

/** What they took, in milliseconds. */
export interface LoopTimes {
  readonly times: readonly number[];
  readonly changeMs: number | undefined;
}

const lastItems = new Map<OnnxSession, number>();
const sessions = new Map<string, OnnxSession>();

function sessionOf({ file, device }: LoopOrder): OnnxSession {
  const key = `${device} ${file}`;
  const onGpu = device !== 'cpu';
  const session =
    sessions.get(key) ??
    OnnxSession.open(
      {
        path: file,
        executionProvider: onGpu ? 'cuda' : 'cpu',
        deviceId: onGpu ? 0 : null,
        shared: false,
        intraOpThreads: 1,
      },
      (call) => call(),
    );
  sessions.set(key, session);
  return session;
}

/** The item as often as asked, each time a bit different, along the first dimension. */
function batchOf({ inputs, items }: LoopOrder): Tensors {
  return Object.fromEntries(
    inputs.map(({ name, dtype, shape, data }) => {
      const whole =
        data instanceof BigInt64Array
          ? new BigInt64Array(data.length * items)
          : new Float32Array(data.length * items);
      for (let item = 0; item < items; item++) {
        const shifted = item % data.length;
        whole.set(data.subarray(shifted) as never, item * data.length);
        whole.set(data.subarray(0, shifted) as never, (item + 1) * data.length - shifted);
      }
      return [name, { dtype, shape: [items, ...shape.slice(1)], data: whole }];
    }),
  );
}

obey(
  {},
  {
    /** Runs for about so long, and what the first one took where the number of items was another before. */
    time: ({ seconds, ...order }: LoopOrder & { readonly seconds: number }): LoopTimes => {
      const session = sessionOf(order);
      const batch = batchOf(order);
      const isChange = lastItems.get(session) !== order.items;
      lastItems.set(session, order.items);
      const start = performance.now();
      session.run(batch);
      const changeMs = isChange ? performance.now() - start : undefined;
      const times: number[] = [];
      const endAt = performance.now() + seconds * 1000;
      for (let before = performance.now(); before < endAt;) {
        session.run(batch);
        const after = performance.now();
        times.push(after - before);
        before = after;
      }
      return { times, changeMs };
    },
    /** The numbers of the first output. */
    answer: (order: LoopOrder): Float32Array => {
      lastItems.set(sessionOf(order), order.items);
      const [output] = Object.values(sessionOf(order).run(batchOf(order)));
      return output?.data as Float32Array;
    },
  },
  async () => {
    for (const session of sessions.values()) session.release();
  },
);
