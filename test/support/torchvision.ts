import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf } from '#libs/common';

const run = promisify(execFile);

/** The version that goes with the PyTorch of the tests. */
const PACKAGE = 'torchvision==0.28.0';
const folder = fileURLToPath(new URL(`../../.marline/${PACKAGE.replace('==', '-')}`, import.meta.url));
/**
 * The registry's package for x86 is built for CUDA, and its operators do not load beside a PyTorch for the CPU; then torchvision
 * cannot even be imported, because it describes two operators unasked. With these declared it imports; transforms and models in Python work.
 */
const DECLARE = `
import os
import torch
try:
    torch.ops.load_library(os.path.join(os.path.dirname(__file__), "torchvision", "_C.so"))
except OSError:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
`;

/** A folder for `PYTHONPATH`, or why there is none. */
export type Torchvision =
  | { readonly modules: string; readonly missing?: never }
  | { readonly missing: string; readonly modules?: never };

/**
 * A folder for `PYTHONPATH` with torchvision, which TorchServe's handlers for images import, or why there is none. Installed once,
 * below `.marline`.
 * @param python the interpreter of `pythonVenv()`
 */
export async function torchvision(python: string): Promise<Torchvision> {
  if (existsSync(folder)) return { modules: folder };
  const staging = `${folder}.${process.pid}`;
  mkdirSync(staging, { recursive: true });
  try {
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
    await run(python, [...pip, '--target', staging, PACKAGE]);
    writeFileSync(`${staging}/sitecustomize.py`, DECLARE);
    renameSync(staging, folder);
    return { modules: folder };
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    return { missing: `${PACKAGE} cannot be installed: ${messageOf(error).split('\n').at(-1)}` };
  }
}
