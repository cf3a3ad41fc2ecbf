"""The settings that `runyard run` knows: those of the server that mean something for one run on this machine,
by the same names (docs/settings.md).

From RUNYARD_* and from the user's own `runyard.toml` in $XDG_CONFIG_HOME/runyard (else ~/.config/runyard). A
`runyard.toml` in the working copy is not read: it may be a stranger's, and could open the sandbox. Read by
hand, because pydantic takes longer to import than ten small jobs to run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from runyard.model.errors import Invalid
from runyard.model.plan import Network

FILE_LIMIT_BYTES = 1 << 20
_WORDS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off", ""), False),
}


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Names, units and defaults are those of `settings.Settings`; only `runner_slots` 0 means two more than
    processors."""

    runner_slots: int = 0
    allow_plain: bool = False
    network: str = "internet"
    job_memory_bytes: int = 4 << 30
    job_processes: int = 4096
    job_cpus: float = 0.0
    job_timeout_s: int = 3600
    cancel_grace_s: float = 10.0
    log_limit_bytes: int = 100 << 20
    artifact_limit_bytes: int = 5 << 30
    actions_url: str = "https://github.com"
    actions_builtin: bool = True
    jobs_per_run: int = 2000
    needs_per_job: int = 50

    @classmethod
    def read(cls) -> LocalSettings:
        """As they are now; Invalid names the setting that makes no sense."""
        written = _from_file(_file())
        found: dict[str, Any] = {}
        for one in fields(cls):
            variable = f"RUNYARD_{one.name.upper()}"
            given = os.environ.get(variable, written.get(one.name))
            if given is not None:
                found[one.name] = _value(one.name, str(one.type), given)
        settings = cls(**found)
        if settings.network not in list(Network):
            raise Invalid(f"The setting network is one of {', '.join(Network)}, not {settings.network!r}.")
        return settings

    @property
    def slots(self) -> int:
        """Jobs at once. Two more than processors, which then have work while a job waits for its box, its
        checkout or its last word."""
        return self.runner_slots or (os.cpu_count() or 2) + 2


def _file() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - a home may be unknown
    return Path(folder, "runyard", "runyard.toml")


def _from_file(file: Path) -> Mapping[str, Any]:
    """Every value under its flat name: `builtin` in a table `[actions]` is `actions_builtin`."""
    try:
        with file.open("rb") as source:
            data = source.read(FILE_LIMIT_BYTES)
    except OSError:
        return {}
    import tomllib

    try:
        told = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise Invalid(f"{file} cannot be read: {error}.") from None
    flat: dict[str, Any] = {}
    for name, value in told.items():
        flat |= {f"{name}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _value(name: str, kind: str, given: Any) -> Any:
    try:
        match kind:
            case "bool" if isinstance(given, bool):
                return given
            case "bool":
                return _WORDS[str(given).strip().lower()]
            case "int" if not isinstance(given, bool | float):
                number: float = int(given)
            case "float" if not isinstance(given, bool):
                number = float(given)
            case "str" if isinstance(given, str):
                return given
            case _:
                raise ValueError
        if not 0 <= number < 1 << 62:
            raise ValueError
    except (KeyError, ValueError, TypeError):
        expected = {
            "bool": "true or false",
            "int": "a whole number from 0",
            "float": "a number from 0",
            "str": "text",
        }
        raise Invalid(f"The setting {name} takes {expected[kind]}.") from None
    return number
