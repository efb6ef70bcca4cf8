#!/usr/bin/env bash
# Checks Python stages on a machine with a GPU, and measures how fast tensors go there and back: prints JSON.
# Needs Python 3.9 or later with PyTorch and NumPy, but neither Node.js nor a build. PYTHON names the interpreter, by
# default python3. Invariant: it leaves nothing behind; exit code 1 when a check fails or nothing can be measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
if "$python" -c 'import pytest' 2>/dev/null; then
  "$python" -B -m pytest -q -p no:cacheprovider --color=no test/python >&2
else
  echo 'pytest is not installed: the tests in test/python are skipped' >&2
fi
exec "$python" -B bench/peers/gpu_check.py
