"""Counts words. A small real project for the Depot door: `python3 wordfreq.py FILE…` prints the most frequent
ones."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

VERSION = "1.2.0"


def frequencies(text: str, case: str = "fold") -> Counter[str]:
    """Words and how often they occur; `case` is `fold` or `keep`."""
    words = re.findall(r"[^\W\d_]+", text)
    return Counter(word.casefold() if case == "fold" else word for word in words)


def main(paths: list[str]) -> int:
    total: Counter[str] = Counter()
    for path in paths:
        total += frequencies(Path(path).read_text(encoding="utf-8"))
    for word, count in total.most_common(10):
        print(f"{count:6d} {word}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
