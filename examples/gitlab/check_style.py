"""Complains about long lines. The texts have one on purpose, so this job fails and the pipeline passes with a
warning."""

import sys
from pathlib import Path

long = [
    f"{file}:{number}: {len(line)} characters"
    for file in sorted(Path("texts").glob("*.txt"))
    for number, line in enumerate(file.read_text().splitlines(), 1)
    if len(line) > 100
]
print("\n".join(long))
sys.exit(3 if long else 0)
