#!/usr/bin/env bash
# gitlab-ci-local, a foreign reader of .gitlab-ci.yml that tests and bench compare with, in .oracle with a Node of its own (it wants 22 or newer).
set -euo pipefail
cd "$(dirname "$0")/.."
packages="gitlab-ci-local@4.75.1 node@22.23.3"
[ "$(cat .oracle/ready 2>/dev/null)" = "$packages" ] && exit 0
if ! command -v npm >/dev/null; then
  echo "!! npm is not here: gitlab-ci-local cannot be fetched; the tests that compare with it will be skipped, loudly" >&2
  exit 0
fi
mkdir -p .oracle
if npm install --silent --no-audit --no-fund --prefix .oracle $packages >/dev/null; then
  echo "$packages" > .oracle/ready
else
  echo "!! gitlab-ci-local could not be fetched; the tests that compare with it will be skipped, loudly" >&2
fi
