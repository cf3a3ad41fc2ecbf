"""A Dockerfile as stages of instructions, as far as building an action's image needs it. Pure;
`runner/actions/building.py` carries it out.

Facts: Docker's Dockerfile reference (parser directives, continuation, flags, heredocs of RUN, variables in
FROM and ARG). Every problem is an ActionError with file and line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from runyard.syntax.actions import ActionError

MAX_BYTES = 1 << 20
MAX_INSTRUCTIONS = 500
MAX_STAGES = 20
SHELL = ("/bin/sh", "-c")
MEANINGLESS = frozenset(("LABEL", "EXPOSE", "MAINTAINER", "VOLUME", "STOPSIGNAL", "HEALTHCHECK"))
"""Instructions that change nothing about an action: it is one process, which listens to nobody."""
_KNOWN = MEANINGLESS | {
    "FROM",
    "ARG",
    "ENV",
    "COPY",
    "ADD",
    "WORKDIR",
    "USER",
    "RUN",
    "SHELL",
    "ENTRYPOINT",
    "CMD",
}
_DIRECTIVE = re.compile(r"#\s*(escape|syntax|check)\s*=\s*(\S+)\s*\Z", re.IGNORECASE)
_FLAG = re.compile(r"--([a-z]+)(?:=(\S*))?(?:\s+|\Z)")
_HEREDOC = re.compile(r"(?:^|\s)[0-9]*<<-?(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1(?=\s|$)")
_VARIABLE = re.compile(r"\\\$|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+])([^}]*))?\})", re.ASCII)
_FROM = re.compile(r"(\S+)(?:\s+AS\s+([A-Za-z0-9][A-Za-z0-9_.-]*))?\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of them. `text` is what follows the flags; `heredocs` are the bodies below it with their last
    lines."""

    at: str  # file:line
    word: str
    text: str
    flags: Mapping[str, str]
    heredocs: str = ""

    def listed(self) -> tuple[str, ...] | None:
        """The text as a JSON list of texts ("exec form"); None when it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return None
        is_list = isinstance(found, list) and found and all(isinstance(one, str) for one in found)
        return tuple(found) if is_list else None


@dataclass(frozen=True, slots=True)
class Stage:
    """What begins with a FROM. `base` is expanded; it may name an earlier stage."""

    at: str
    base: str
    name: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """All stages; `arguments` are the ARGs above the first FROM: each FROM may use their values, each stage
    take them over."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]

    def named(self, name: str, before: int) -> int | None:
        """The number of an earlier stage that FROM names; None for an image."""
        return next(
            (n for n, one in enumerate(self.stages[:before]) if one.name and one.name == name.lower()), None
        )

    def source(self, name: str, before: int) -> int | None:
        """The same for `--from`, which may give a number too."""
        if name.isascii() and name.isdigit() and int(name[:4]) < before:
            return int(name)
        return self.named(name, before)

    def needed(self) -> list[int]:
        """The stages that the last one is made of, in order."""
        found: set[int] = set()
        waiting: list[int | None] = [len(self.stages) - 1]
        while waiting:
            number = waiting.pop()
            if number is None or number in found:
                continue
            found.add(number)
            stage = self.stages[number]
            waiting.append(self.named(stage.base, number))
            waiting += [self.source(i.flags["from"], number) for i in stage.instructions if "from" in i.flags]
        return sorted(found)


def expand(text: str, known: Mapping[str, str]) -> str:
    """Variables of FROM and ARG: `$X`, `${X}`, `${X:-word}`, `${X:+word}`; unknown ones are empty."""

    def one(match: re.Match[str]) -> str:
        name, how, word = match[1] or match[2], match[3] or "", match[4] or ""
        if not name:
            return "$"
        value = known.get(name)
        there = value is not None and (bool(value) or not how.startswith(":"))
        if how.endswith("-"):
            return value or "" if there else word
        if how.endswith("+"):
            return word if there else ""
        return value or ""

    return _VARIABLE.sub(one, text)


def pairs(instruction: Instruction) -> dict[str, str | None]:
    """The names that an ARG declares, with their defaults (None: none), not expanded."""
    found: dict[str, str | None] = {}
    for word in _words(instruction):
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ActionError(f"{instruction.at}: '{name[:80]}' is not the name of an argument")
        found[name] = value if equals else None
    return found


def _words(instruction: Instruction) -> list[str]:
    """Split at blanks outside of quotes; the quotes go, `\\$` stays for `expand`."""
    words, word, quote, begun = [], "", "", False
    letters = iter(instruction.text)
    for letter in letters:
        if letter == "\\" and quote != "'":
            following = next(letters, "")
            word += "\\$" if following == "$" else following
            begun = True
        elif quote:
            quote, word = ("", word) if letter == quote else (quote, word + letter)
        elif letter in "'\"":
            quote, begun = letter, True
        elif letter.isspace():
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + letter, True
    if quote:
        raise ActionError(f"{instruction.at}: a quote is not closed")
    return [*words, word] if begun else words


def read(data: bytes, file: str, given: Mapping[str, str] | None = None) -> Dockerfile:
    """The file, judged as far as can be without building it. `given` are arguments that every file may
    declare (TARGETARCH and its kin)."""
    if len(data) > MAX_BYTES:
        raise ActionError(f"{file}: a Dockerfile may have at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ActionError(f"{file}: a Dockerfile must be UTF-8") from None
    arguments = dict(given or {})
    stages: list[Stage] = []
    for instruction in _instructions(text.splitlines(), file):
        if instruction.word == "FROM":
            stages.append(_stage(instruction, stages, arguments))
        elif stages:
            last = stages[-1]
            stages[-1] = Stage(last.at, last.base, last.name, (*last.instructions, instruction))
        elif instruction.word == "ARG":
            for name, value in pairs(instruction).items():
                arguments[name] = expand(value or "", arguments)
        else:
            raise ActionError(
                f"{instruction.at}: a Dockerfile begins with FROM (or ARG), not {instruction.word}"
            )
    if not stages:
        raise ActionError(f"{file}: a Dockerfile needs a FROM")
    return Dockerfile(arguments, tuple(stages))


def _stage(instruction: Instruction, before: list[Stage], arguments: Mapping[str, str]) -> Stage:
    match = _FROM.match(instruction.text)
    if match is None:
        raise ActionError(f"{instruction.at}: expected `FROM image [AS name]`")
    if instruction.flags.keys() - {"platform"}:
        raise ActionError(f"{instruction.at}: FROM knows only the flag --platform")
    name = (match[2] or "").lower()
    if name and any(stage.name == name for stage in before):
        raise ActionError(f"{instruction.at}: there is a stage '{name}' already")
    if len(before) >= MAX_STAGES:
        raise ActionError(f"{instruction.at}: a Dockerfile may have at most {MAX_STAGES} stages")
    base = expand(match[1], arguments)
    if not base:
        raise ActionError(
            f"{instruction.at}: '{match[1][:80]}' is empty: an ARG above FROM gives it a default"
        )
    return Stage(instruction.at, base, name, ())


def _instructions(lines: list[str], file: str) -> list[Instruction]:
    number = _directives(lines, file)
    found: list[Instruction] = []
    while number < len(lines):
        first, text, number = _joined(lines, number)
        if not text:
            continue
        if len(found) >= MAX_INSTRUCTIONS:
            raise ActionError(
                f"{file}:{first}: a Dockerfile may have at most {MAX_INSTRUCTIONS} instructions"
            )
        instruction = _instruction(text, f"{file}:{first}")
        if instruction.word in ("RUN", "COPY", "ADD"):
            body, number = _heredocs(instruction, lines, number)
            instruction = Instruction(
                instruction.at, instruction.word, instruction.text, instruction.flags, body
            )
        found.append(instruction)
    return found


def _directives(lines: list[str], file: str) -> int:
    """The lines at the top that say how to read the rest; `syntax` names a reader, ours is the one."""
    for number, line in enumerate(lines):
        match = _DIRECTIVE.match(line.strip())
        if match is None:
            return number
        if match[1].lower() == "escape" and match[2] != "\\":
            raise ActionError(f"{file}:{number + 1}: only the backslash is served as escape character")
    return len(lines)


def _joined(lines: list[str], number: int) -> tuple[int, str, int]:
    """(line of its beginning, one instruction's text, the next line): a backslash at the end goes on,
    comments in between do not count."""
    parts: list[str] = []
    first = number + 1
    while number < len(lines):
        line = lines[number].rstrip()
        number += 1
        if line.lstrip().startswith("#") or (parts and not line.strip()):
            continue
        if not parts:
            first = number
        goes_on = line.endswith("\\")
        parts.append(line[:-1] if goes_on else line)
        if not goes_on:
            break
    return first, "".join(parts).strip(), number


def _instruction(text: str, at: str) -> Instruction:
    word, _, rest = text.partition(" ") if " " in text else text.partition("\t")
    word, rest = word.upper(), rest.lstrip()
    if word == "ONBUILD":
        raise ActionError(f"{at}: ONBUILD is not served: nothing is built on an action's image")
    if word not in _KNOWN:
        raise ActionError(f"{at}: '{word[:40]}' is not an instruction of a Dockerfile")
    flags: dict[str, str] = {}
    while word in ("FROM", "RUN", "COPY", "ADD") and (match := _FLAG.match(rest)):
        flags[match[1]] = match[2] or ""
        rest = rest[match.end() :]
        _judge_flag(word, match[1], match[2] or "", at)
    if not rest and word not in ("CMD", "ENTRYPOINT"):
        raise ActionError(f"{at}: {word} needs something behind it")
    return Instruction(at, word, rest, flags)


def _judge_flag(word: str, name: str, value: str, at: str) -> None:
    """A cache of RUN may be empty at any time, so it always is; what would let a build see something else of
    the machine is not served."""
    if word != "RUN" or (name == "network" and value == "default"):
        return
    if name == "mount" and "type=cache" in value.split(","):
        return
    raise ActionError(f"{at}: RUN --{name}{'=' * bool(value)}{value[:80]} is not served")


def _heredocs(instruction: Instruction, lines: list[str], number: int) -> tuple[str, int]:
    found = [match[2] for match in _HEREDOC.finditer(instruction.text)]
    if found and instruction.word != "RUN":
        raise ActionError(
            f"{instruction.at}: a text (<<{found[0]}) in {instruction.word} is not served: use RUN"
        )
    start = number
    for name in found:
        while number < len(lines) and lines[number].lstrip("\t") != name:
            number += 1
        if number >= len(lines):
            raise ActionError(f"{instruction.at}: the text <<{name} does not end")
        number += 1
    return "".join(f"{line}\n" for line in lines[start:number]), number
