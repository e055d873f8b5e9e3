#!/bin/sh
# Builds benchmark networks into .marline/bench-models: `sh test/bench/models/make.sh [resnet50 bert_mini …]` (default: resnet50).
# Needs python3; PyTorch and ONNX go into a virtual environment of their own. The networks are this project's own
# definitions with random weights (Apache-2.0, like the rest of it): the compute is real, the answers mean nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../../.marline
mkdir -p "$out"
if [ ! -x "$out/bench-venv/bin/python" ]; then
  python3 -m venv "$out/bench-venv"
  "$out/bench-venv/bin/pip" install --quiet torch==2.13.0 onnx numpy
fi
[ $# -gt 0 ] || set -- resnet50
exec "$out/bench-venv/bin/python" -W ignore "$here/make_bench.py" "$out/bench-models" "$@"
