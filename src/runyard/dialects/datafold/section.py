"""The section `[datafold]` of a repository's runyard.toml: how the repository's own dbt project is built at
both ends of a change. Pure.

It says what to run, never where: data source, network and environment are the CI configuration's, which only
administrators make.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runyard.model.errors import Invalid, Problem, TooLarge
from runyard.model.trigger import Files

SECTION_FILE = "runyard.toml"
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
Command = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00\n]+$")]
Folder = Annotated[str, Field(max_length=500)]


class Section(BaseModel):
    """What a repository may say."""

    model_config = ConfigDict(extra="forbid")

    config: str | int = ""  # name or id of a CI configuration of this repository; "" its only one
    base_branch: Annotated[str, Field(max_length=300)] = (
        ""  # default: the configuration's, else the project's default branch
    )
    project_dir: Folder = "."  # where dbt_project.yml is
    dbt: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[\w./-]+$")] = "dbt"
    setup: Annotated[list[Command], Field(max_length=20)] = []  # shell lines, once per side, before dbt
    commands: Annotated[list[Command], Field(min_length=1, max_length=10)] = ["build"]  # arguments of dbt
    threads: Annotated[int, Field(ge=1, le=64)] = 4

    @field_validator("commands")
    @classmethod
    def _words(cls, commands: list[str]) -> list[str]:
        for command in commands:
            shlex.split(command)  # a ValueError says which quote is missing
        return commands

    @field_validator("project_dir")
    @classmethod
    def _inside(cls, folder: str) -> str:
        parts = PurePosixPath(folder)
        if parts.is_absolute() or ".." in parts.parts or "\0" in folder:
            raise ValueError("must be a folder inside the repository")
        return str(parts)


def has_section(files: Files) -> bool:
    """Whether a push should be looked at; a file that is no TOML is, if it seems to have the section, so that
    somebody hears of it."""
    data = _read(files, SECTION_FILE)
    if data is None:
        return False
    try:
        return isinstance(tomllib.loads(data.decode()).get("datafold"), dict)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return b"[datafold]" in data


def read_section(files: Files, path: str = SECTION_FILE) -> Section:
    """The section; Invalid names the line or the field."""
    data = _read(files, path)
    if data is None:
        raise Invalid(problems=(Problem("there is no such file", file=path),))
    try:
        found: Any = tomllib.loads(data.decode()).get("datafold")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(problems=(_no_toml(str(error), path, data),)) from None
    if not isinstance(found, dict):
        raise Invalid(problems=(Problem("there is no section [datafold]", file=path),))
    try:
        return Section.model_validate(found)
    except ValidationError as error:
        lines = data.decode().splitlines()
        raise Invalid(problems=tuple(_problem(dict(e), path, lines) for e in error.errors()[:20])) from None


def _read(files: Files, path: str) -> bytes | None:
    try:
        return files.read(path)
    except TooLarge:
        return None


def _no_toml(message: str, path: str, data: bytes) -> Problem:
    place = _PLACE.search(message)
    line, column = (
        (int(place[1]), int(place[2])) if place else (data.count(b"\n") + 1, 1)
    )  # at end of document
    said = _PLACE.sub("", message).replace("(at end of document)", "before its end").strip()
    return Problem(f"this is not TOML: {said or 'nested too deeply'}", file=path, line=line, column=column)


def _problem(error: dict[str, Any], path: str, lines: list[str]) -> Problem:
    """Where the key stands, as well as a line-wise look can tell."""
    name = str(error["loc"][0]) if error["loc"] else ""
    wanted = re.compile(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=")
    start = next((i for i, text in enumerate(lines) if text.strip() == "[datafold]"), 0)
    line = next((i for i in range(start, len(lines)) if wanted.match(lines[i])), start)
    where = ".".join(map(str, error["loc"]))
    return Problem(f"[datafold] {where}: {error['msg']}", file=path, line=line + 1)
