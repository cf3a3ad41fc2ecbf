"""A program of ours in a process of its own, for a request that is answered at once: one JSON in, one JSON
out, under limits.

For work on strangers' texts or files that could hang, crash or fill the server: it ends with the time, the
processor or the memory that it was given, and the server goes on. The process has none of the server's
environment. Not for strangers' programs: those get a Box.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_ANSWER_BYTES = 64 << 20
AT_ONCE = 2


class AsideError(Exception):
    """There is no answer; the text says why, for people."""


class AsideOverrun(AsideError):
    """It took longer than it may, or more memory."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one answer may take. Memory is of addresses, so more than is ever used."""

    seconds: float = 60.0
    memory_bytes: int = 6 << 30


class Aside:
    """Few at once; who waits holds no thread."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, module: str, request: Mapping[str, Any], allowance: Allowance) -> Any:
        """What `python -m module` answers on its stdout to the request on its stdin; AsideError otherwise."""
        data = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")
        async with self._slots:
            return await asyncio.to_thread(_run, module, data, allowance)


def _run(module: str, data: bytes, allowance: Allowance) -> Any:
    argv = [*_limits(int(allowance.seconds) + 1, allowance.memory_bytes), sys.executable, "-I", "-m", module]
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    try:
        done = subprocess.run(
            argv, input=data, capture_output=True, timeout=allowance.seconds, env=env, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        raise AsideOverrun(f"it took longer than {allowance.seconds:g} s") from None
    except OSError as error:
        raise AsideError(f"it could not be started: {error.strerror}") from None
    if done.returncode or len(done.stdout) > MAX_ANSWER_BYTES:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        if "MemoryError" in last or done.returncode < 0:
            raise AsideOverrun("it took more memory or processor time than it may")
        raise AsideError(last or "its answer is too large")
    try:
        return json.loads(done.stdout.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise AsideError("its answer cannot be read") from None


def _limits(cpu_s: int, memory_bytes: int) -> list[str]:
    """Set from outside: Python's own hook before exec is not safe in a process with threads."""
    program = _prlimit()
    return [program, f"--cpu={cpu_s}", f"--as={memory_bytes}", "--core=0", "--"] if program else []


@lru_cache(maxsize=1)
def _prlimit() -> str:
    return shutil.which("prlimit") or ""
