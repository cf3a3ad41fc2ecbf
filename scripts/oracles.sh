#!/usr/bin/env bash
# Other people's data diffs, to check ours against (tests/tasks/datadiff/test_oracles.py, bench/datadiff.py): in an environment of their own, .venv-oracles.
# Nothing of `make demo` needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e .venv-oracles/ready ] || [ constraints/oracles.txt -nt .venv-oracles/ready ]; then
  [ -x .venv-oracles/bin/python ] || .venv/bin/uv venv -q --python .venv/bin/python .venv-oracles
  .venv/bin/uv pip install -q --python .venv-oracles/bin/python --require-hashes -r constraints/oracles.txt
  touch .venv-oracles/ready
fi
