#!/usr/bin/env bash
# The vendors' own, unmodified clients, apart from Runyard's environment: .venv-clients (Python) and .clients (npm).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e .venv-clients/ready ] || [ constraints/clients.txt -nt .venv-clients/ready ]; then
  [ -x .venv-clients/bin/python ] || .venv/bin/uv venv -q --python .venv/bin/python .venv-clients
  .venv/bin/uv pip install -q --python .venv-clients/bin/python --require-hashes -r constraints/clients.txt
  touch .venv-clients/ready
fi
# Looker's SDK of other ages, and spectacles: each in an environment of its own, because each client stands alone at its users' too.
for wanted in constraints/looker/*.txt; do
  home=.clients/looker/$(basename "$wanted" .txt)
  if [ ! -e "$home/ready" ] || [ "$wanted" -nt "$home/ready" ]; then
    (
      [ -x "$home/bin/python" ] || .venv/bin/uv venv -q --python .venv/bin/python "$home"
      .venv/bin/uv pip install -q --python "$home/bin/python" --require-hashes -r "$wanted"
      touch "$home/ready"
    ) &
  fi
done
wait
for wanted in constraints/looker/*.txt; do
  [ -e ".clients/looker/$(basename "$wanted" .txt)/ready" ]
done
if command -v npm >/dev/null; then
  packages="@depot/cli-linux-x64@0.0.1-cli.2.102.12 @gitbeaker/rest@43.8.0 @looker/sdk-node@26.12.0 @looker/filter-expressions@1.0.4 @microsoft/jest-sarif@1.0.0-beta.0"
  if [ "$(cat .clients/ready 2>/dev/null)" != "$packages" ]; then
    mkdir -p .clients
    npm install --silent --no-audit --no-fund --prefix .clients $packages >/dev/null
    echo "$packages" > .clients/ready
  fi
else
  echo "!! npm is not here: the depot CLI and gitbeaker cannot be fetched; their tests and the depot part of the demo will be skipped, loudly" >&2
fi
