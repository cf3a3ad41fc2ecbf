"""`run`: a list of steps in the place of `script` (GitLab's functions, an experiment there).

Called by the job reader. Steps that are scripts become commands, each in a shell of its own, so every runner
can execute them. Functions (`step`, `action`) and what scripts give to each other need GitLab's step-runner:
a stock runner that has one gets the list itself, on others the job fails.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.findings import Place
from runyard.dialects.gitlab.config.script import failing
from runyard.syntax.yamltree import Mapping, Node

MAX_STEPS = 200
_KINDS = ("script", "step", "action")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_KNOWN = re.compile(r"\$\{\{\s*(?:job|vars|env)\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_ALONE = ("before_script", "script", "after_script")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """`commands` for runners without GitLab's step-runner; `steps` as written, for those with one, where they
    are needed."""

    commands: tuple[str, ...] = ()
    steps: tuple[Any, ...] = ()


def run_steps(node: Node, job: Mapping, place: Place) -> RunSpec:
    """`run` of a job."""
    together = [key for key in _ALONE if key in job.entries and not fields.is_null(job.get(key))]
    if together:
        place.error(node.at, f"{place.path} config these keys cannot be used together: {together[0]}, run")
    items = fields.sequence(node, place) or ()
    if not items or len(items) > MAX_STEPS:
        place.wrong(node.at, f"should have 1 to {MAX_STEPS} steps")
        return RunSpec()
    commands = [_command(item, place) for item in items]
    unserved = next((command for command in commands if command is None), "")
    if unserved is not None:
        return RunSpec(tuple(command or "" for command in commands))
    said = f"{place.path}: functions are not served here; a GitLab runner with a step-runner executes them"
    place.out.warn(node.at, f"{said}. On others the job fails when it runs")
    return RunSpec((failing(said),), tuple(fields.plain(item, place) for item in items))


def _command(node: Node, place: Place) -> str | None:
    """One step as a command; None when only a step-runner can execute it."""
    step = fields.mapping(node, place, ("name", *_KINDS, "env", "inputs"))
    if step is None:
        return ""
    name, env = step.get("name"), step.get("env")
    text = fields.text(name, place.sub("name")) if name is not None else ""
    if not _NAME.fullmatch(text or ""):
        place.wrong(node.at, "should have a `name` of letters, digits and `_`")
    given = [kind for kind in _KINDS if kind in step.entries]
    if len(given) != 1:
        place.wrong(node.at, "should have one of: script, step, action")
        return ""
    exports = _exports(env, place.sub("env")) if env is not None else []
    value = step.get(given[0])
    if given[0] != "script" or value is None:
        return None
    if "inputs" in step.entries:
        place.wrong(step.key_at("inputs"), "inputs are for `step` and `action`")
    script = fields.text(value, place.sub("script")) or ""
    whole = _KNOWN.sub(r"${\1}", "\n".join((f"( # {text}", *exports, script, ")")))
    return None if "${{" in whole else whole


def _exports(node: Node, place: Place) -> list[str]:
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash")
        return []
    found = []
    for key, entry in node.entries.items():
        if not _NAME.fullmatch(key):
            place.wrong(entry.key.at, f"has an invalid variable name: {key[:60]!r}")
            continue
        text = fields.scalar_text(entry.value, place.sub(key)) or ""
        whole = _KNOWN.sub(r"${\1}", text)
        found.append(f"export {key}={shlex.quote(text) if whole == text else _within_quotes(text)}")
    return found


def _within_quotes(text: str) -> str:
    """A value with variables of the shell in it: all else is quoted."""
    pieces: list[str] = []
    position = 0
    for found in _KNOWN.finditer(text):
        pieces += (shlex.quote(text[position : found.start()]), f'"${{{found[1]}}}"')
        position = found.end()
    return "".join((*pieces, shlex.quote(text[position:])))
