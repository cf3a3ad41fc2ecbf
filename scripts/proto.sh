#!/usr/bin/env bash
# Regenerates the Depot codecs (src/runyard/dialects/depot/gen) from their interface files, with tools of an environment of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=.venv-codegen
[ -x $tools/bin/python ] || .venv/bin/uv venv -q --python .venv/bin/python $tools
.venv/bin/uv pip install -q --python $tools/bin/python --require-hashes -r constraints/codegen.txt
bin=$PWD/$tools/bin
cd src/runyard/dialects/depot/proto
"$bin/python" -m grpc_tools.protoc --plugin=protoc-gen-py="$bin/protoc-gen-py" --plugin=protoc-gen-connectrpc="$bin/protoc-gen-connectrpc" \
  --py_out=../gen --connectrpc_out=../gen -I. $(find depot runner ping -name '*.proto' | sort)
