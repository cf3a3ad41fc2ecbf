"""Counts words in a folder of texts."""

import re
from collections import Counter
from pathlib import Path


def words_of(text: str) -> list[str]:
    """Lower-case words, in order."""
    return re.findall(r"[a-z']+", text.lower())


def count(folder: Path) -> Counter[str]:
    """How often each word occurs in the folder's `.txt` files."""
    return Counter(word for file in sorted(folder.glob("*.txt")) for word in words_of(file.read_text()))
