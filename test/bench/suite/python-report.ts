import type { PythonArchive } from './python-archives.js';
import type { BenchResult } from './result.js';
import { ROUNDS, type Samples } from './rounds.js';

/** What the benchmark of Python archives found. @param java the version that TorchServe ran on */
export function pythonReport(
  archives: readonly PythonArchive[],
  samples: Samples,
  java: string,
): BenchResult {
  const compared = archives.filter(({ name }) => samples.of(`${name} TorchServe p50`).length > 0);
  const single = archives.filter(({ name }) => samples.of(`${name} handler p50`).length > 0);
  const ofMnist = archives.filter(({ name }) => name !== 'echo' && name !== 'mnist-batched');
  const throughput = ({ name }: PythonArchive) =>
    samples.pair(`${name} Marline per second`, `${name} TorchServe per second`, (own, peer) => own / peer);
  const apart = ({ name }: PythonArchive, one: string, other: string) =>
    samples.pair(`${name} ${one} p50`, `${name} ${other} p50`, (a, b) => (a - b) * 1000);
  const both = ({ name }: PythonArchive, what: string) =>
    ['Marline', 'TorchServe'].map((server) => samples.of(`${name} ${server} ${what}`));
  return {
    name: 'python',
    title: 'Python archives',
    method: [
      `The same archives in Marline and in the real TorchServe 0.12.0 on Java ${java}, with the same Python: two workers, one thread of`,
      "PyTorch each (`OMP_NUM_THREADS=1`), and the archive's own batch settings. Each server runs by itself, and is stopped (SIGSTOP)",
      'when it is not its turn. 8 connections of wrk, then 1. Echo answers what its handler received, for JSON of three numbers;',
      "MNIST reads a PNG of 28 × 28 pixels. The handler by itself is the worker's own `Service.predict` in a loop. CPU and memory (PSS)",
      'are those of the server and its workers. With raw pixels nothing has to be decoded: what is left is PyTorch beside ONNX Runtime.',
    ],
    rounds: ROUNDS,
    aims: [
      ...compared.map((archive) => ({
        what: `${archive.title}: requests/s at 8 connections ÷ TorchServe`,
        sign: '≥' as const,
        asked: 1,
        unit: ' ×',
        values: throughput(archive),
      })),
      ...single.map((archive) => ({
        what: `${archive.title}: p50 at 1 connection − TorchServe's`,
        sign: '<' as const,
        asked: 0,
        unit: ' µs',
        values: apart(archive, 'Marline', 'TorchServe'),
      })),
    ],
    tables: [
      {
        columns: [
          '8 connections',
          'Marline, requests/s',
          'TorchServe, requests/s',
          '÷',
          'Marline, CPU ms/request',
          'TorchServe, CPU ms/request',
          'Marline, PSS MB',
          'TorchServe, PSS MB',
        ],
        rows: compared.map((archive) => ({
          title: archive.title,
          cells: [
            ...both(archive, 'per second'),
            throughput(archive),
            ...both(archive, 'cpu'),
            ...both(archive, 'pss'),
          ],
        })),
      },
      {
        columns: [
          '1 connection, p50',
          'handler, ms',
          'Marline, ms',
          'TorchServe, ms',
          'Marline − handler, µs',
          'TorchServe − handler, µs',
        ],
        rows: single.map((archive) => ({
          title: archive.title,
          cells: [
            samples.of(`${archive.name} handler p50`),
            ...both(archive, 'p50'),
            apart(archive, 'Marline', 'handler'),
            apart(archive, 'TorchServe', 'handler'),
          ],
        })),
      },
      {
        columns: ['in Marline', 'requests/s', 'CPU ms/request', 'p50 at 1 connection, ms', 'PSS MB'],
        rows: ofMnist.map(({ name, title }) => ({
          title,
          cells: ['per second', 'cpu', 'p50', 'pss'].map((what) => samples.of(`${name} Marline ${what}`)),
        })),
      },
    ],
  };
}
