#!/usr/bin/env bash
# Tests that failed among thousands run once more, alone. Given the command; `make test` calls it after a failed run.
# A few tests drive real processes, browsers and databases on whatever machine CI has; one that passes alone did not fail for what it tests. More than three are
# no accident. Each is named, and is a defect of the test or a race in the product until somebody knows: CONTRIBUTING.md says what to do.
set -euo pipefail
failed=.venv/tests/v/cache/lastfailed
[ -s "$failed" ] || { echo "!! the run ended without noting which tests failed" >&2; exit 1; }
count=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$failed")
[ "$count" -le 3 ] || { echo "!! $count tests failed: too many for another try" >&2; exit 1; }
names=$(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$failed")
echo "== once more, alone: $count failed"
"$@" --last-failed --last-failed-no-failures none
printf '!! failed among others, passed alone (mend it):\n%s\n' "$names" >&2
