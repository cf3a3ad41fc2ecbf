"""What a step says to the runner within its output: masks, outputs, annotations, problem matchers
(contracts/actions.md §6.4). Used by `steps.py`."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from runyard.runner.room import opened_beneath
from runyard.runner.sandbox import Box
from runyard.runner.streams import Log
from runyard.syntax.commands import Command, CommandStream, log_line, masks_of
from runyard.syntax.matchers import (
    MAX_FILE_BYTES,
    Matcher,
    MatcherError,
    Problem,
    Scan,
    read_matchers,
    with_matchers,
    without_owners,
)

ANNOTATIONS = frozenset(("error", "warning", "notice"))


class Spoken:
    """One step's output. `matchers` are the job's, changed in place: what a step registers holds for the
    steps after it. `shown`: names under which the step knows folders of the box (outside) beside the box's
    own."""

    def __init__(self, box: Box, log: Log, matchers: list[Matcher], shown: Mapping[str, str]) -> None:
        self.outputs: dict[str, str] = {}
        self.state: dict[str, str] = {}
        self.trouble = ""  # of a command that could not be carried out, which fails the step
        self._annotations: list[dict[str, Any]] = []
        self._box = box
        self._log = log
        self._matchers = matchers
        self._shown = shown
        self._stream = CommandStream()
        self._scan = Scan(matchers)

    def hear(self, data: bytes) -> None:
        """Bytes as the process wrote them."""
        self._act(self._stream.feed(data))

    def close(self) -> None:
        """The process has ended."""
        self._act(self._stream.close())
        self._print(self._scan.close())

    def complain(self, message: str) -> None:
        """An annotation of the runner's own."""
        self._annotations.append({"level": "error", "message": message})

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Without what the log hides."""
        return [{key: self._log.shown(str(value)) for key, value in one.items()} for one in self._annotations]

    def _act(self, pieces: Sequence[bytes | Command]) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                self._print(self._scan.feed(piece))
                continue
            match piece.name:
                case "add-mask":
                    self._log.masker.add(masks_of(piece.data))
                case "set-output":
                    self.outputs[piece.properties.get("name", "")] = piece.data
                case "save-state":
                    self.state[piece.properties.get("name", "")] = piece.data
                case "add-matcher" | "remove-matcher":
                    self._match(piece)
                case name if name in ANNOTATIONS:
                    self._annotations.append({"level": name, "message": piece.data, **piece.properties})

    def _print(self, pieces: Iterable[bytes | Problem]) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                self._log.write(piece)
                continue
            self._log.write(log_line(piece.severity, piece.text))
            if self._stream.may_store(piece.severity):
                self._annotations.append(self._annotation(piece))

    # problem matchers

    def _match(self, command: Command) -> None:
        owner, path = command.properties.get("owner", ""), command.data or command.properties.get("file", "")
        try:
            if command.name == "add-matcher":
                new = self._read(path)
                self._matchers[:] = with_matchers(self._matchers, new)
                said = f"Added matchers: {_owners(new)}. Problem matchers scan action output for known warning or error strings and report these inline."
            else:
                owners = [owner] if owner else [matcher.owner for matcher in self._read(path)]
                self._matchers[:] = without_owners(self._matchers, owners)
                said = f"Removed matchers: {', '.join(repr(name) for name in owners)}"
        except MatcherError as error:
            self.trouble = f"Unable to process command '::{command.name}::' successfully: {error}"
            self.complain(self.trouble)
            said = f"##[error]{self.trouble}"
        self._scan.use(self._matchers)
        self._log.write(f"{said}\n".encode("utf-8", "surrogateescape"))

    def _read(self, path: str) -> list[Matcher]:
        """The matchers of a file that the step names, as the step sees it."""
        if not path.strip():
            raise MatcherError("File path must be specified.")
        place = self._outside(path)
        fd = None if place is None else opened_beneath(*place)
        if fd is None:
            raise MatcherError(
                f"there is no file '{path[:300]}' in the workspace, the job's temporary or home folder or an action's own, or a link leads to it"
            )
        with os.fdopen(fd, "rb") as file:
            found, notes = read_matchers(file.read(MAX_FILE_BYTES + 1))
        for note in notes:
            self._log.write(log_line("warning", note))
        return found

    def _outside(self, path: str) -> tuple[str, str] | None:
        """A path of the step's as (a folder that no job can put another in the place of, path below it); a
        relative one begins in the workspace."""
        inside, outside = self._box.inside, self._box.outside
        path = posixpath.normpath(posixpath.join(inside.workspace, path))
        own = {inside.builds: outside.builds, inside.home: outside.home}
        for name, folder in (*self._shown.items(), *own.items()):
            if path.startswith(f"{name}/"):
                found = f"{folder}/{path.removeprefix(f'{name}/')}"
                return next(
                    (top, found[len(top) + 1 :]) for top in own.values() if found.startswith(f"{top}/")
                )
        return None

    def _annotation(self, problem: Problem) -> dict[str, Any]:
        """In the words of `::error file=…,line=…,col=…::`; what is no number and no file of the repository is
        left out."""
        found = problem.found
        numbers = {"line": found.get("line", ""), "col": found.get("column", "")}
        places = {key: value for key, value in numbers.items() if value.isascii() and value.isdigit()}
        if code := found.get("code", "").strip():
            places["code"] = code
        if file := self._in_repository(found.get("file", ""), found.get("fromPath", "")):
            places["file"] = file
        return {"level": problem.severity, "message": problem.message, **places}

    def _in_repository(self, file: str, origin: str) -> str:
        """A printed path as one from the top of the repository that it lies in; empty for what is not there.
        `origin` is the file that it is relative to."""
        if not file.strip() or "\0" in file:
            return ""
        if origin.strip() and not file.startswith("/"):
            file = posixpath.join(posixpath.dirname(origin), file)
        place = self._outside(file)
        workspace = self._outside(f"{self._box.inside.workspace}/.")
        if place is None or workspace is None:
            return ""
        top = posixpath.join(*workspace)
        path = posixpath.join(*place)
        if not path.startswith(f"{top}/"):
            return ""
        fd = opened_beneath(*place)
        if fd is None:
            return ""
        os.close(fd)
        return _below_git(top, path.removeprefix(f"{top}/"))


def _below_git(top: str, path: str) -> str:
    """The path from the innermost folder that holds a `.git`, else from the workspace."""
    folders = path.split("/")[:-1]
    for depth in range(len(folders), 0, -1):
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(posixpath.join(top, *folders[:depth], ".git")).st_mode):
                return "/".join(path.split("/")[depth:])
    return path


def _owners(matchers: Sequence[Matcher]) -> str:
    return ", ".join(f"'{matcher.owner}'" for matcher in matchers)
