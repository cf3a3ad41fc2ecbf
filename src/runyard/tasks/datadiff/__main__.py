"""`python -m runyard.tasks.datadiff --spec FILE --out DIR`: the program of a diff job. Connections come by
RUNYARD_CONNECTIONS.

Writes result.json (always), diff.parquet and summary.md; tells its progress on stdout; exits 0 when equal, 1
when different, 2 when it could not, 3 when keys are null or duplicate and the spec says that this fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from runyard.tasks.datadiff.diff import as_bytes, run
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.markdown import summary
from runyard.tasks.datadiff.meter import Tick
from runyard.tasks.datadiff.report import as_failure, as_json
from runyard.tasks.datadiff.spec import read_connections, read_spec

EQUAL, DIFFERENT, COULD_NOT, BAD_KEYS = 0, 1, 2, 3


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runyard.tasks.datadiff", description="Compare two tables."
    )
    parser.add_argument("--spec", type=Path, required=True, help="JSON file saying what to compare")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for result.json, diff.parquet, summary.md"
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    result, code = _attempt(options.spec, options.out)
    (options.out / "result.json").write_bytes(as_bytes(result))
    text = summary(result)
    (options.out / "summary.md").write_text(text, encoding="utf-8")
    _say("\n" + text)
    return code


def _attempt(spec_file: Path, out: Path) -> tuple[dict[str, Any], int]:
    labels = ("A", "B")
    try:
        spec = read_spec(spec_file.read_bytes())
        labels = (spec.a.label, spec.b.label)
        _say(f"Comparing {labels[0]} (A) with {labels[1]} (B).")
        report = run(
            spec, read_connections(os.environ.get("RUNYARD_CONNECTIONS", "")), out.resolve(), _Lines()
        )
    except CouldNot as error:
        return as_failure(error, labels), COULD_NOT
    except OSError as error:
        return as_failure(CouldNot(Fault.QUERY, f"{error.strerror or error}."), labels), COULD_NOT
    except Exception as error:  # noqa: BLE001 - Python would exit with 1, which means "different"
        traceback.print_exc()
        message = f"Runyard's comparison broke ({type(error).__name__}): the job's log has the place; please report it."
        return as_failure(CouldNot(Fault.INTERNAL, message), labels), COULD_NOT
    finally:
        shutil.rmtree(out / "spill", ignore_errors=True)
        for scratch in out.glob("*.csv"):
            with contextlib.suppress(OSError):
                scratch.unlink()
    if report.bad_keys and spec.fail_on_bad_keys:
        return as_json(report), BAD_KEYS
    return as_json(report), EQUAL if report.equal else DIFFERENT


class _Lines:
    """Progress as lines: each step once, and a long step's share, rows and estimate at most every two
    seconds. The Datafold door reads them."""

    def __init__(self) -> None:
        self.step = ""
        self.began = self.said = self.stepped = time.monotonic()

    def __call__(self, tick: Tick) -> None:
        now = time.monotonic()
        if tick.step != self.step:
            self.step, self.said, self.stepped = tick.step, now, now
            _say(f"[{now - self.began:6.1f} s] {tick.step}")
        elif now - self.said >= 2:
            self.said = now
            _say(
                f"[{now - self.began:6.1f} s] {tick.step} {tick.fraction:.0%}{_rows(tick, now - self.stepped)}"
            )


def _rows(tick: Tick, seconds: float) -> str:
    done = f", {tick.rows:,} of {tick.of:,} rows" if tick.rows else ""
    if tick.fraction < 0.02:
        return done
    return f"{done}, about {seconds * (1 - tick.fraction) / tick.fraction:.0f} s left"


def _say(line: str) -> None:
    sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
