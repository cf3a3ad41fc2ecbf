"""A question answered in a process of its own: what it gives, and that time, memory and a crash end only that
process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runyard.runner.sandbox import aside
from runyard.runner.sandbox.aside import Allowance, Aside, AsideError, AsideOverrun

PROGRAM = """
import json, os, sys
asked = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
match asked["do"]:
    case "echo": print(json.dumps({"said": asked["text"], "environment": sorted(os.environ)}))
    case "hang":
        while True: pass
    case "grow": bytearray(1 << 40)
    case "fail": raise ValueError("no such thing")
    case "babble": print("{")
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program above in the place of a module."""
    (tmp_path / "program.py").write_text(PROGRAM)
    real = aside.subprocess.run

    def run(argv: list[str], **more: Any) -> Any:
        return real([*argv[: argv.index("-I")], str(tmp_path / "program.py")], **more)

    monkeypatch.setattr(aside.subprocess, "run", run)
    monkeypatch.setenv("RUNYARD_ROOT_TOKEN", "secret")

    def asked(seconds: float = 20, **request: Any) -> Any:
        async def go() -> Any:
            return await Aside().ask("x", request, Allowance(seconds))

        return asyncio.run(go())

    return asked


def test_it_answers_and_knows_nothing_of_the_server(ask: Any) -> None:
    found = ask(do="echo", text="é\ud800")
    assert found["said"] == "é\ud800"
    assert "RUNYARD_ROOT_TOKEN" not in found["environment"]


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"do": "hang", "seconds": 0.5}, AsideOverrun, "longer than 0.5 s"),
        ({"do": "grow"}, AsideOverrun, "more memory"),
        ({"do": "fail"}, AsideError, "no such thing"),
        ({"do": "babble"}, AsideError, "cannot be read"),
    ],
)
def test_what_goes_wrong_ends_there(ask: Any, request_: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        ask(**request_)


def test_few_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = [0], [0]

    def run(*_: Any) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        import time

        time.sleep(0.05)
        running[0] -= 1

    monkeypatch.setattr(aside, "_run", run)

    async def go() -> None:
        one = Aside()
        await asyncio.gather(*(one.ask("x", {}, Allowance()) for _ in range(7)))

    asyncio.run(go())
    assert most[0] == aside.AT_ONCE
