import { readFile, statfs } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';
import { gpuUsage } from './gpu-usage.js';

const MB = 1024 ** 2;
const GB = 1024 ** 3;

/** Takes the value of one of TorchServe's system metrics; `deviceId` is the number of a GPU. */
export type RecordSystemMetric = (name: string, value: number, deviceId?: string) => void;

/** Looks at the machine, at once and then in intervals: CPU, memory, the disk of `/`, and GPUs where there are any. */
export class SystemMetrics {
  readonly #record: RecordSystemMetric;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #cpu = cpuTimes();
  /** Unknown until `nvidia-smi` was asked once. */
  #hasGpus: boolean | undefined;
  #isReading = false;

  constructor(record: RecordSystemMetric, intervalMs: number) {
    this.#record = record;
    this.#intervalMs = intervalMs;
  }

  start(): void {
    void this.read();
    this.#timer = setInterval(() => void this.read(), this.#intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects: what a machine does not tell is left out. Does nothing while it is still looking. */
  async read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#readCpu();
    await Promise.allSettled([this.#readMemory(), this.#readDisk(), this.#readGpus()]);
    this.#isReading = false;
  }

  #readCpu(): void {
    const before = this.#cpu;
    this.#cpu = cpuTimes();
    const total = this.#cpu.total - before.total;
    this.#tell('CPUUtilization', total === 0 ? 0 : percent(total - (this.#cpu.idle - before.idle), total));
  }

  async #readMemory(): Promise<void> {
    const total = totalmem();
    const available = await availableMemory();
    this.#tell('MemoryUsed', (total - available) / MB);
    this.#tell('MemoryAvailable', available / MB);
    this.#tell('MemoryUtilization', percent(total - available, total));
  }

  async #readDisk(): Promise<void> {
    const { bsize, blocks, bfree, bavail } = await statfs('/');
    const used = (blocks - bfree) * bsize;
    const available = bavail * bsize;
    this.#tell('DiskUsage', used / GB);
    this.#tell('DiskAvailable', available / GB);
    this.#tell('DiskUtilization', percent(used, used + available));
  }

  async #readGpus(): Promise<void> {
    if (this.#hasGpus === false) return;
    const gpus = await gpuUsage().catch(() => []);
    this.#hasGpus ??= gpus.length > 0;
    for (const { index, utilizationPercent, memoryUsedMb, memoryTotalMb } of gpus) {
      this.#tell('GPUUtilization', utilizationPercent, index);
      this.#tell('GPUMemoryUsed', memoryUsedMb, index);
      this.#tell('GPUMemoryUtilization', percent(memoryUsedMb, memoryTotalMb), index);
    }
  }

  #tell(name: string, value: number, deviceId?: string): void {
    if (Number.isFinite(value)) this.#record(name, value, deviceId);
  }
}

function cpuTimes(): { readonly idle: number; readonly total: number } {
  const times = cpus().map((cpu) => cpu.times);
  return {
    idle: times.reduce((sum, { idle }) => sum + idle, 0),
    total: times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0),
  };
}

/** Bytes that programs can still get: free memory, and what the system gives up for them, where it says so. */
async function availableMemory(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const [, kilobytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(text) ?? [];
  return kilobytes === undefined ? freemem() : Number(kilobytes) * 1024;
}

function percent(part: number, whole: number): number {
  return Math.round((part / whole) * 1000) / 10;
}
